"""Segment ids as colours: red + 256 green + 256^2 blue."""

import numpy as np


def rgb2id(color):
    """Colours (..., 3), RGB, as an array -> ids (...) int64; a triple -> int."""
    if isinstance(color, np.ndarray):
        return color.astype(np.int64) @ np.array([1, 256, 256**2])
    red, green, blue = map(int, color)
    return red + 256 * green + 256**2 * blue


def id2rgb(ids):
    """Ids (...) as an array -> colours (..., 3) uint8; an int -> list of three."""
    if isinstance(ids, np.ndarray):
        return (ids[..., None] // np.array([1, 256, 256**2]) % 256).astype(np.uint8)
    return [int(ids) // 256**i % 256 for i in range(3)]
