"""Colour augmentation."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms.v2 import functional

from detrove.datasets.transforms.hue import shift_hue

RAMP = np.arange(256, dtype=np.uint8)[None]  # every grey value, as an image


@TRANSFORMS.register_module()
class RandomPhotometricDistort(BaseTransform):
    """Changes brightness, contrast, saturation, hue and the order of channels, each with probability `prob`.

    The distribution and the arithmetic are those of torchvision's ``RandomPhotometricDistort`` on Pillow
    images, which the official RT-DETR uses (Liu et al., "SSD", ECCV 2016). mmdet's ``PhotoMetricDistortion``
    cannot be set to equal it: it adds brightness, scales contrast about black instead of the mean grey, and
    returns unclipped floats.

    Required and modified key: img, (H, W, 3) uint8 BGR. Random numbers come from numpy's global generator.

    Args:
        brightness, contrast, saturation: ranges of factors, 1 changes nothing.
        hue: range of shifts, in turns of the colour circle.
        prob: of each of the five changes.
    """

    def __init__(
        self,
        *,
        brightness: tuple[float, float] = (0.875, 1.125),
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: tuple[float, float] = (-0.05, 0.05),
        prob: float = 0.5,
    ):
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        self.ranges = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        self.prob = prob

    @cache_randomness
    def _random_changes(self) -> tuple[dict[str, float], bool, np.ndarray | None]:
        """Values of the changes that apply, whether contrast comes first, the channels' new order or None."""
        changes = {
            name: np.random.uniform(*limits)
            for name, limits in self.ranges.items()
            if np.random.rand() < self.prob
        }
        contrast_first = np.random.rand() < 0.5
        order = np.random.permutation(3) if np.random.rand() < self.prob else None
        return changes, contrast_first, order

    def transform(self, results: dict) -> dict:
        changes, contrast_first, order = self._random_changes()
        return results | dict(img=distort(results['img'], changes, contrast_first, order))

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.ranges}, prob={self.prob})'


def distort(
    image_bgr: np.ndarray, changes: dict[str, float], contrast_first: bool, order: np.ndarray | None
) -> np.ndarray:
    """Applies given changes in SSD's sequence. image_bgr (H, W, 3) uint8; order permutes R, G, B.

    Brightness and contrast give equal values equal values, so that they are looked up in a table, which Pillow fills.
    NumPy would copy images with channels in another order byte by byte: OpenCV does it.
    """
    if not changes and order is None:
        return image_bgr
    image_rgb = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
    sequence = ['brightness', 'contrast', 'saturation', 'hue']
    if not contrast_first:
        sequence = ['brightness', 'saturation', 'hue', 'contrast']
    for name in sequence:
        if name not in changes:
            continue
        factor = changes[name]
        if name == 'brightness':
            image_rgb = cv2.LUT(image_rgb, np.asarray(functional.adjust_brightness(Image.fromarray(RAMP), factor))[0])
        elif name == 'contrast':
            image_rgb = cv2.LUT(image_rgb, _contrast_table(image_rgb, factor))
        elif name == 'saturation':
            image_rgb = np.asarray(functional.adjust_saturation(Image.fromarray(image_rgb), factor))
        else:
            image_rgb = shift_hue(image_rgb, int(factor * 255))
    if order is None:
        return cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    distorted_bgr = np.empty_like(image_rgb)
    cv2.mixChannels([image_rgb], [distorted_bgr], [index for pair in zip(order[::-1].tolist(), range(3), strict=True)
                                                   for index in pair])
    return distorted_bgr


def _contrast_table(image_rgb: np.ndarray, factor: float) -> np.ndarray:
    """Each grey value moved away from the mean grey of the image, rounded as Pillow does. (256,) uint8."""
    histogram = np.array(Image.fromarray(image_rgb).convert('L').histogram())
    mean = int(histogram @ np.arange(256) / histogram.sum() + 0.5)
    return np.asarray(Image.blend(Image.new('L', (256, 1), mean), Image.fromarray(RAMP), factor))[0]
