"""Frames of video files and cameras, and where they are shown."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

from .drawing import Drawer

_UNKNOWN_FPS = 25.0  # of cameras that do not tell theirs


class UnreadableVideo(ValueError):
    """A file that is no video, or one that OpenCV cannot decode; or a camera that gives no pictures."""


@dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
        video: Name of the video file, with `/` where it lay in a sub-folder.
        index: Number in the video, from 0.
        fps: Frames of the video in a second.
    """

    video: str
    index: int
    fps: float

    @property
    def name(self) -> str:
        """The name that results of this frame alone get, `VIDEO/000012.png`."""
        return f'{Path(self.video).with_suffix("").as_posix()}/{self.index:06d}.png'


def read_frames(source: Path | int, name: str) -> Iterator[tuple[Frame, np.ndarray]]:
    """The frames of a video file or camera one after the other, (H, W, 3) in BGR of 8 bits.

    Args:
        source: File, or number of a camera.
        name: What the frames state as their video.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableVideo: If not one frame can be read.
    """
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(2, 'No such file', str(source))
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    if isinstance(source, int):
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # else a slow model sees what the camera saw long ago
    try:
        there, pixels = capture.read()
        if not there:
            raise UnreadableVideo(_unreadable(source))
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if np.isfinite(fps) and fps > 0 else _UNKNOWN_FPS
        index = 0
        while there:
            yield Frame(name, index, fps), pixels
            there, pixels = capture.read()
            index += 1
    finally:
        capture.release()


def count_frames(path: Path) -> int:
    """How many frames the file says that it has; 0 where it says nothing. May be some off."""
    capture = cv2.VideoCapture(str(path))
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    return max(0, int(count)) if np.isfinite(count) else 0


def missing_display() -> str | None:
    """Why no window can be opened; None where one can."""
    if sys.platform.startswith('linux') and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        return 'there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set'
    try:
        cv2.namedWindow('detrove')  # builds without windows raise; how they say so otherwise depends on the version
        cv2.destroyWindow('detrove')
    except cv2.error:
        return 'this OpenCV has no windows: replace opencv-python-headless by opencv-python'
    return None


class Window:
    """Shows frames as they come."""

    title = 'detrove: q or Esc ends'

    def __init__(self):
        self.draw = None

    def show(self, image_bgr: np.ndarray, sample: BaseDataElement, dataset_meta: dict) -> bool:
        """Show it with its results; False where someone wants to end it, by q, Esc or closing the window."""
        self.draw = self.draw or Drawer(dataset_meta)
        cv2.imshow(self.title, self.draw(image_bgr, sample))
        key = cv2.waitKey(1) & 0xFF
        return key not in (ord('q'), 27) and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1


def _unreadable(source: Path | int) -> str:
    if isinstance(source, int):
        return f'camera {source} gives no pictures: none has this number, or another program uses it'
    return (f'{source} cannot be read as a video: it is empty, damaged, none, or in a format that this OpenCV does not '
            f'decode. If a player shows it, convert it: ffmpeg -i {source.name} -c:v libx264 converted.mp4')
