"""Transforms of results dicts, registered in mmdet's TRANSFORMS."""

from detrove.datasets.transforms.crop import RandomCropAtScale
from detrove.datasets.transforms.flip import HorizontalFlip
from detrove.datasets.transforms.geometric import RandomIoUCrop, RandomZoomOut, SanitizeBoxes
from detrove.datasets.transforms.packing import PackPlanes
from detrove.datasets.transforms.photometric import RandomPhotometricDistort
from detrove.datasets.transforms.resize import SmoothResize

__all__ = [
    'HorizontalFlip', 'PackPlanes', 'RandomCropAtScale', 'RandomIoUCrop', 'RandomPhotometricDistort', 'RandomZoomOut',
    'SanitizeBoxes', 'SmoothResize',
]
