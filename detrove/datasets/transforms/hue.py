"""Pillow's change of hue, to the last bit, from tables that Pillow fills, in less than half its time."""

from functools import cache

import cv2
import numpy as np
from PIL import Image

_BYTES = np.arange(256, dtype=np.uint8)
#: the sixths of the colour circle in which each of R, G, B is the largest, and in which it is between the others
_LARGEST = ((5, 0), (1, 2), (3, 4))
_MIDDLE = ((1, 4), (0, 3), (2, 5))


def shift_hue(image_rgb: np.ndarray, shift: int) -> np.ndarray:
    """The image as Pillow has it after a trip to HSV, where `shift` is added to the hue modulo 256.

    Args:
        image_rgb: (H, W, 3) uint8.
        shift: in 255ths of the colour circle.
    """
    red, green, blue = cv2.split(image_rgb)
    largest = cv2.max(cv2.max(red, green), blue)
    smallest = cv2.min(cv2.min(red, green), blue)
    middle = red ^ green ^ blue ^ largest ^ smallest
    zeros = np.zeros_like(red)

    order = (cv2.compare(red, largest, cv2.CMP_EQ) & 1) | (cv2.compare(green, largest, cv2.CMP_EQ) & 2)
    order |= (cv2.compare(red, smallest, cv2.CMP_EQ) & 4) | (cv2.compare(green, smallest, cv2.CMP_EQ) & 8)
    hue = _look_up(_hues(), largest - middle, zeros, largest - smallest, order)
    saturation, new_smallest = _bytes(_look_up(_saturations(), largest, zeros, smallest, zeros))
    *are_largest, level = _bytes(cv2.LUT(hue, _after(shift)[0]))
    *are_middle, _ = _bytes(cv2.LUT(hue, _after(shift)[1]))
    new_middle = _look_up(_middles(), largest, zeros, saturation, level)
    return cv2.merge([
        (largest & is_largest) | (new_middle & is_middle) | (new_smallest & ~(is_largest | is_middle))
        for is_largest, is_middle in zip(are_largest, are_middle, strict=True)
    ])


def _look_up(table: np.ndarray, x_low, x_high, y_low, y_high) -> np.ndarray:
    """table[y, x] at every pixel; x and y are given as the two bytes of 16-bit numbers."""
    places_xy = cv2.merge([x_low, x_high, y_low, y_high]).view('<i2')
    return cv2.remap(table, places_xy, None, cv2.INTER_NEAREST)


def _bytes(numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """The bytes of numbers (H, W), each (H, W) uint8."""
    return cv2.split(numbers.view(np.uint8).reshape(*numbers.shape, -1))


def _numbers(*of_bytes: np.ndarray) -> np.ndarray:
    """Numbers of these bytes, of which a table is made that looks up several at once."""
    kind = {2: np.uint16, 4: np.int32}[len(of_bytes)]
    return np.stack(of_bytes, -1).astype(np.uint8).view(kind)[..., 0]


@cache
def _after(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """By hue before the shift (256,): where R, G, B are largest, 255 for yes, and the level for `_middles`; where they
    are in the middle."""
    hue = (np.arange(256) + shift) % 256
    sixth, rest = hue * 2 // 85 % 6, hue * 2 % 85  # Pillow's circle has 255 hues of 6/255 of a sixth
    level = np.where(sixth % 2 == 0, 85 - rest, rest) // 2
    largest, middle = ([255 * np.isin(sixth, of) for of in which] for which in (_LARGEST, _MIDDLE))
    return _numbers(*largest, level), _numbers(*middle, level)


@cache
def _hues() -> np.ndarray:
    """Hue by 256 * order + (largest - smallest) and largest - middle, (4096, 256) uint8.

    Bits of `order`: red is largest, green is, red is smallest, green is.
    """
    table = np.zeros((16, 256, 256), np.uint8)
    to_middle, to_smallest = np.meshgrid(_BYTES, _BYTES)
    for order in range(16):
        largest = 0 if order & 1 else 1 if order & 2 else 2
        smallest = 0 if order & 4 else 1 if order & 8 else 2
        if largest == smallest:  # grey
            continue
        rgb = np.empty((256, 256, 3), np.uint8)
        rgb[..., largest] = 255
        rgb[..., smallest] = 255 - to_smallest
        rgb[..., 3 - largest - smallest] = 255 - np.minimum(to_middle, to_smallest)
        table[order] = np.asarray(Image.fromarray(rgb).convert('HSV'))[..., 0]
    return table.reshape(-1, 256)


@cache
def _saturations() -> np.ndarray:
    """Saturation and, after the trip, the smallest channel, by smallest and largest, (256, 256) of two bytes."""
    largest, smallest = np.meshgrid(_BYTES, _BYTES)
    smallest = np.minimum(largest, smallest)
    hsv = Image.fromarray(np.stack([largest, smallest, smallest], -1)).convert('HSV')
    return _numbers(np.asarray(hsv)[..., 1], np.asarray(hsv.convert('RGB'))[..., 2])


@cache
def _middles() -> np.ndarray:
    """The channel between the others by 256 * level + saturation and largest, (11008, 256) uint8.

    The level says how far it is from the largest, which 43 hues of the second sixth of the circle stand for.
    """
    hue, saturation, largest = np.meshgrid(np.r_[43:86], _BYTES, _BYTES, indexing='ij')
    hue[-1] = 0  # farthest: pure red, where the first sixth begins
    hsv = np.stack([hue, saturation, largest], -1).astype(np.uint8)
    rgb = np.asarray(Image.fromarray(hsv.reshape(-1, 256, 3), 'HSV').convert('RGB')).reshape(hsv.shape)
    return np.concatenate([rgb[:-1, ..., 0], rgb[-1:, ..., 1]]).reshape(-1, 256)
