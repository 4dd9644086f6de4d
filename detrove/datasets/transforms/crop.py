"""Cropping at the size that an image will have, before it is resized."""

from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomCrop
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type


@TRANSFORMS.register_module()
class RandomCropAtScale(RandomCrop):
    """Cuts what ``RandomChoiceResize`` followed by ``RandomCrop(crop_type='absolute_range')`` would show.

    The crop is drawn in pixels of the resized image and cut out of the image as it is, to a whole pixel, so that the
    resizing that comes after it is the only one. DETR (Carion et al. 2020) resizes before and after the crop: the same
    views, smoothed once more.

    Args:
        scales: bounds (of either side) that keep the image's shape, one of which is chosen.
        crop_size: least and largest side of the crop in the resized image.
        allow_negative_crop: keep crops without objects; else such an image is left out.
    """

    def __init__(self, *, scales: Sequence[tuple[int, int]], crop_size: tuple[int, int],
                 allow_negative_crop: bool = False):
        super().__init__(crop_size, crop_type='absolute_range', allow_negative_crop=allow_negative_crop)
        if not scales:
            raise ValueError('scales must hold at least one size (width, height), got none')
        self.scales = [tuple(scale) for scale in scales]

    @cache_randomness
    def _random_scale(self) -> tuple[int, int]:
        return self.scales[np.random.randint(len(self.scales))]

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        size_hw = results['img'].shape[:2]
        scaled_hw = mmcv.rescale_size(size_hw[::-1], self._random_scale())[::-1]
        crop_hw = self._get_crop_size(scaled_hw)
        window_hw = tuple(max(1, round(crop * side / scaled))
                          for crop, side, scaled in zip(crop_hw, size_hw, scaled_hw, strict=True))
        return self._crop_data(results, window_hw, self.allow_negative_crop)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(scales={self.scales}, crop_size={self.crop_size}, '
                f'allow_negative_crop={self.allow_negative_crop})')
