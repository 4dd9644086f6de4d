"""Data sets and transforms. Importing this package registers them with mmdet and mmseg."""

from detrove.datasets import transforms
from detrove.datasets.coco import CocoDetection
from detrove.datasets.shapes_dataset import ShapesDataset, ShapesSegDataset

__all__ = ['CocoDetection', 'ShapesDataset', 'ShapesSegDataset', 'transforms']
