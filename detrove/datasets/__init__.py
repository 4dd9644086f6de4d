"""Data sets and transforms. Importing this package registers them with mmdet and mmseg."""

from detrove.datasets import transforms
from detrove.datasets.bucket_sampler import BucketBatchSampler
from detrove.datasets.cityscapes_panoptic import CityscapesPanopticDataset
from detrove.datasets.coco import CocoDetection
from detrove.datasets.collate import one_piece_collate
from detrove.datasets.image_file import LoadImageFromFile, UnreadableImage
from detrove.datasets.label_map_file import LoadAnnotations
from detrove.datasets.shapes_dataset import ShapesDataset, ShapesSegDataset, ShapesSegWithBackgroundDataset

__all__ = ['BucketBatchSampler', 'CityscapesPanopticDataset', 'CocoDetection', 'LoadAnnotations', 'LoadImageFromFile',
           'ShapesDataset', 'ShapesSegDataset', 'ShapesSegWithBackgroundDataset', 'UnreadableImage',
           'one_piece_collate', 'transforms']
