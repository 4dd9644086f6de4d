"""Data sets and transforms. Importing this package registers them with mmdet and mmseg."""

from detrove.datasets import transforms
from detrove.datasets.bucket_sampler import BucketBatchSampler
from detrove.datasets.cityscapes_panoptic import CityscapesPanopticDataset
from detrove.datasets.coco import CocoDetection
from detrove.datasets.collate import one_piece_collate
from detrove.datasets.shapes_dataset import ShapesDataset, ShapesSegDataset, ShapesSegWithBackgroundDataset

__all__ = ['BucketBatchSampler', 'CityscapesPanopticDataset', 'CocoDetection', 'ShapesDataset', 'ShapesSegDataset',
           'ShapesSegWithBackgroundDataset', 'one_piece_collate', 'transforms']
