"""Transforms of results dicts, registered in mmdet's TRANSFORMS."""

from detrove.datasets.transforms.geometric import RandomIoUCrop, RandomZoomOut, SanitizeBoxes
from detrove.datasets.transforms.photometric import RandomPhotometricDistort

__all__ = ['RandomIoUCrop', 'RandomPhotometricDistort', 'RandomZoomOut', 'SanitizeBoxes']
