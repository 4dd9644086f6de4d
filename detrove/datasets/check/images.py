"""Image files: readable, of the recorded size, turned by EXIF."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .finding import Finding, error, examples_of, warning
from .source import DataSource, Track

_ORIENTATION_TAG = 274
_TURNED = range(5, 9)  # orientations that swap width and height


@dataclass(frozen=True)
class ImageRecord:
    """An image file, with the size (width, height) that the annotations give it, if they do."""

    path: str
    size_wh: tuple[float, float] | None = None


@dataclass(frozen=True)
class Probe:
    """What a file is: its size (width, height) as stored, EXIF orientation, and why it cannot be read, if so."""

    size_wh: tuple[int, int] = (0, 0)
    orientation: int = 1
    problem: str = ''

    def loaded_size_wh(self, *, follows_exif: bool) -> tuple[int, int]:
        turned = follows_exif and self.orientation in _TURNED
        return self.size_wh[::-1] if turned else self.size_wh


def sample(items: Sequence, number: int | None) -> list:
    """`number` of them, drawn evenly at random and the same each time, in order; all when None."""
    if number is None or number >= len(items):
        return list(items)
    chosen = np.random.default_rng(0).choice(len(items), number, replace=False)
    return [items[place] for place in np.sort(chosen)]


def in_threads(function, items: Sequence, *, workers: int, track: Track, title: str) -> Iterable:
    """`function` of each item, in order. Threads will do: reading and decoding release the interpreter."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from track(pool.map(function, items), title, len(items))
    finally:
        pool.shutdown(cancel_futures=True)


def probe(path: str) -> Probe:
    """Reads a whole image file, at an eighth of its size where the format allows."""
    try:
        with Image.open(path) as image:
            size_wh = image.size
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
            image.draft('L', (1, 1))
            image.load()
    except Exception as problem:  # decoders raise many kinds: OSError, SyntaxError, ValueError, struct.error
        return Probe(problem=_reason(path, problem))
    return Probe(size_wh, orientation if orientation in range(1, 9) else 1)


def _reason(path: str, problem: Exception) -> str:
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return 'an empty file'
    return str(problem).replace(repr(path), 'file').replace(path, 'file') or type(problem).__name__


def follows_exif(source: DataSource) -> bool:
    """Whether the pipeline's image loader turns images as EXIF says; mmcv's does unless told otherwise."""
    loader = source.transform('LoadImageFromFile')
    stored = 'ignore_orientation' in loader.get('color_type', '') or loader.get('color_type') == 'unchanged'
    return not stored and loader.get('imdecode_backend') not in ('turbojpeg', 'tifffile')


def check_images(
    source: DataSource, records: Sequence[ImageRecord], *, workers: int, track: Track
) -> Iterator[Finding]:
    """Reads image files.

    Args:
        source: The data set.
        records: Files that exist.
        workers: Threads.
        track: Shows how far it is.
    """
    where = f'{source.path}.data_prefix.{"img_path" if source.kind == "segmentation" else "img"}'
    turns = follows_exif(source)
    unreadable, other_size, turned, tagged = [], [], [], []
    title = f'images of {source.path}'
    for record, found in zip(records, in_threads(probe, [record.path for record in records], workers=workers,
                                                 track=track, title=title), strict=True):
        loaded = found.loaded_size_wh(follows_exif=turns)
        if found.problem:
            unreadable.append(f'{record.path}: {found.problem}')
        elif record.size_wh is None or record.size_wh == loaded:
            if turns and found.orientation in (2, 3, 4):
                tagged.append(f'{record.path}: EXIF orientation {found.orientation}')
        elif record.size_wh == loaded[::-1] and found.orientation in _TURNED:
            if turns:
                continue  # LoadImageFromFile sees that they are annotated as stored, and loads them so
            turned.append(f'{record.path}: recorded as {_by(record.size_wh)}, loaded as {_by(loaded)} '
                          f'(EXIF orientation {found.orientation})')
        else:
            other_size.append(f'{record.path}: recorded as {_by(record.size_wh)}, is {_by(loaded)}')
    for make, kind, problems, message, fix in (
        (error, 'unreadable', unreadable, 'cannot be read to their end', 'copy or download these files again'),
        (error, 'other-size', other_size, 'are of another size than the annotations say, so that boxes and masks do '
         'not fit them', 'use the images that were annotated, or correct width, height and the annotations'),
        (error, 'exif-rotated', turned, 'are annotated as their EXIF tag turns them, and loaded as stored',
         "load them turned: LoadImageFromFile(color_type='color')"),
        (warning, 'exif-tag', tagged, 'are mirrored or turned upside down by their EXIF tag when loaded',
         'look whether their annotations are drawn as loaded: tools that ignore EXIF draw them otherwise'),
    ):
        if problems:
            yield make(f'images.{kind}', where, f'images {message} (of {len(records):,} looked at)', len(problems),
                       examples_of(problems), fix=fix)


def _by(size_wh: tuple[float, float]) -> str:
    return f'{size_wh[0]:.6g} x {size_wh[1]:.6g}'
