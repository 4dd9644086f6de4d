"""Outlines of objects, looked at before they are drawn: wrong run lengths make pycocotools write past its memory."""

import math
from collections.abc import Mapping

import numpy as np


def check_masks(data_info: Mapping, *, source: str) -> None:
    """Refuse masks that cannot be drawn.

    Polygons with fewer than three points pass: mmdet leaves an object of such polygons out, and
    `tools/check_dataset.py` counts them.

    Args:
        data_info: an image of a data set, with `instances`, `height` and `width`.
        source: name of the annotation file, for messages.

    Raises:
        ValueError: a mask is not there, is neither polygons nor COCO's run lengths, has numbers that are none, or run
            lengths of another image size.
    """
    size_hw = data_info['height'], data_info['width']
    for number, instance in enumerate(data_info['instances']):
        mask = instance.get('mask')
        problem = _polygon_problem(mask) if isinstance(mask, list) else _run_problem(mask, size_hw)
        if problem:
            raise ValueError(f'{source}: the segmentation of object {number + 1} in {data_info["img_path"]} {problem}. '
                             'Correct it, or leave the object out.')


def _polygon_problem(mask: list) -> str | None:
    for polygon in mask:
        if not isinstance(polygon, list):
            return f'is a list of {type(polygon).__name__}; expected a list of polygons [x1, y1, x2, y2, ...]'
        if not all(type(value) in (int, float) for value in polygon):
            return f'has a polygon of more than numbers: {str(polygon)[:80]}'
        # the library draws in 32 bits, five times finer
        if any(not math.isfinite(value) or abs(value) > 2**26 for value in polygon):
            return f'has a point that is not finite or far away: {str(polygon)[:80]}'
    return None


def _run_problem(mask, size_hw: tuple[int, int]) -> str | None:
    if mask is None:
        return 'is not there, and the pipeline loads masks'
    if not isinstance(mask, Mapping) or not {'size', 'counts'} <= mask.keys():
        return f'is {str(mask)[:80]}; expected polygons, or run lengths: an object of size and counts'
    height, width = size_hw
    if mask['size'] != [height, width]:
        return f'has the size {str(mask["size"])[:80]}, but the image is [{height}, {width}] (height, width)'
    counts = mask['counts']
    if not isinstance(counts, list | str):
        return f'has run lengths of the kind {type(counts).__name__}; expected text or a list of numbers'
    try:
        lengths = run_lengths(counts) if isinstance(counts, str) else counts
    except ValueError as error:
        return f'has run lengths that cannot be read: {error}'
    if not all(type(length) is int and length >= 0 for length in lengths) or sum(lengths) != height * width:
        return f'has run lengths that do not make up {height} x {width} pixels: {str(counts)[:80]}'
    return None


def run_lengths(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    A character holds five bits of a number, the lowest first, offset by 48; its sixth bit says that more follow. From
    the fourth number on, what is written is the difference from the number before the last.

    Raises:
        ValueError: a character has no meaning, or the text ends inside a number.
    """
    codes = np.frombuffer(text.encode('latin1', 'replace'), np.uint8).astype(np.int64) - 48
    if not len(codes):
        return []
    last = (codes & 32) == 0
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise ValueError('characters are missing or none of theirs')
    starts = np.flatnonzero(np.r_[True, last[:-1]])
    digits = np.diff(np.r_[starts, len(codes)])
    if digits.max() > 7:
        raise ValueError('a number is larger than any image')
    place = np.arange(len(codes)) - np.repeat(starts, digits)
    numbers = np.add.reduceat((codes & 31) << 5 * place, starts)
    numbers -= np.where(codes[last] & 16, 1 << 5 * digits, 0)  # the highest bit is the sign
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers.tolist()
