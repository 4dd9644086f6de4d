"""Data sets and transforms. Importing this package registers them with mmdet and mmseg."""

from detrove.datasets import transforms
from detrove.datasets.cityscapes_panoptic import CityscapesPanopticDataset
from detrove.datasets.coco import CocoDetection
from detrove.datasets.shapes_dataset import ShapesDataset, ShapesSegDataset

__all__ = ['CityscapesPanopticDataset', 'CocoDetection', 'ShapesDataset', 'ShapesSegDataset', 'transforms']
