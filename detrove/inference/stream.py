"""Pixels one after the other, from files or from a camera, for `detrove infer`."""

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from detrove.datasets.image_file import UnreadableImage

from .predict import ImagePipeline
from .sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImageFile, find_images
from .videos import Frame, UnreadableVideo, count_frames, read_frames

COMPLETE = 0.95  # of the frames that a file states, which is an estimate in some formats


class Files:
    """Images, and frames of videos; a file that cannot be read is named on stderr and counted.

    Args:
        inputs: Files, folders and patterns, see `find_images`; in folders videos count too.

    Attributes:
        pipeline: Reads the images; to be set before the first one is read.
    """

    pipeline: ImagePipeline

    def __init__(self, inputs: Sequence[str]):
        self.files = find_images(inputs, suffixes=IMAGE_SUFFIXES + VIDEO_SUFFIXES)
        self.num_files = len(self.files)
        self.num_failed = 0
        self.unit = 'images and frames' if any(file.is_video for file in self.files) else 'images'

    def expected_number(self) -> int:
        """Of images and frames, as far as the videos tell."""
        return sum(count_frames(file.path) if file.is_video else 1 for file in self.files)

    def __iter__(self) -> Iterator[tuple[ImageFile | Frame, np.ndarray]]:
        for file in self.files:
            try:
                if file.is_video:
                    yield from self._frames_of(file)
                else:
                    yield file, self.pipeline.read(file.path)
            except (UnreadableImage, UnreadableVideo, OSError) as error:
                print(f'skipped: {error}', file=sys.stderr)
                self.num_failed += 1

    def _frames_of(self, file: ImageFile) -> Iterator[tuple[Frame, np.ndarray]]:
        number = 0
        for frame, pixels in read_frames(file.path, file.name):
            number += 1
            yield frame, pixels
        stated = count_frames(file.path)
        if number < COMPLETE * stated:
            print(f'{file.path}: {number} of {stated} frames could be read; the file seems cut off', file=sys.stderr)


class Camera:
    """The pictures of a camera, without an end."""

    pipeline = None  # frames are read already
    num_files, num_failed, unit = 1, 0, 'frames'

    def __init__(self, number: int):
        self.number = number

    def expected_number(self) -> None:
        """Nobody knows."""

    def __iter__(self) -> Iterator[tuple[Frame, np.ndarray]]:
        return read_frames(self.number, f'webcam{self.number}.mp4')
