"""Resizing as Pillow does it, several times as fast."""

import mmcv
import numpy as np
import torch
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from torch.nn import functional

from detrove.datasets.transforms.packing import without_reversed_axes


@TRANSFORMS.register_module()
class SmoothResize(Resize):
    """mmdet's ``Resize(backend='pillow')``, computed by PyTorch's vector instructions.

    Pillow's bilinear filter, which torchvision's and so the official pipelines use, smooths when it shrinks; OpenCV's
    does not. About one value in a thousand differs from Pillow's, by one grey level.

    Required and modified keys are those of mmdet's ``Resize``; img is (H, W, 3) uint8.

    Args:
        scale, scale_factor, keep_ratio, clip_object_border: of mmdet's ``Resize``.

    Raises:
        ValueError: (when called) an image is not (H, W, 3) uint8.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, backend='pillow', interpolation='bilinear')

    def _resize_img(self, results: dict) -> None:
        image = results.get('img')
        if image is None:
            return
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'SmoothResize takes images (H, W, 3) of uint8, got {image.shape} of {image.dtype}. Put transforms '
                "that make floats after it, or use dict(type='Resize', ...)")
        height, width = image.shape[:2]
        size_wh = tuple(results['scale'])
        if self.keep_ratio:
            size_wh = mmcv.rescale_size((width, height), size_wh)
        results['img'] = resize_smoothly(image, size_wh)
        results['img_shape'] = size_wh[::-1]
        results['scale_factor'] = size_wh[0] / width, size_wh[1] / height
        results['keep_ratio'] = self.keep_ratio

    def _resize_bboxes(self, results: dict) -> None:
        boxes = results.get('gt_bboxes')
        if not isinstance(boxes, HorizontalBoxes):
            super()._resize_bboxes(results)
            return
        boxes.tensor = boxes.tensor * boxes.tensor.new_tensor(results['scale_factor'] * 2)  # mmdet's takes far longer
        if self.clip_object_border:
            boxes.clip_(results['img_shape'])


def resize_smoothly(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) uint8, of any strides, resized by a bilinear filter that is widened when it shrinks.

    First along the rows, then along the columns, with whole grey levels in between; the other way round where it
    becomes lower and wider. This is the order of Pillow 13.
    """
    image = np.ascontiguousarray(without_reversed_axes(image))
    width, height = size_wh
    if height < image.shape[0] and width > image.shape[1]:
        image = _interpolate(image, height, image.shape[1])
    return _interpolate(image, height, width)


def _interpolate(image: np.ndarray, height: int, width: int) -> np.ndarray:
    # A batch made by PyTorch, unlike image[None], has strides that say "channels last", which is much faster.
    batch = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
    resized = functional.interpolate(batch, (height, width), mode='bilinear', antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())
