"""Metrics, registered in mmdet's METRICS."""

from .cityscapes_panoptic import CityscapesPanopticMetric
from .coco import CocoEvaluation
from .coco_format import CocoResultsWriter
from .lvis import LvisEvaluation

__all__ = ['CityscapesPanopticMetric', 'CocoEvaluation', 'CocoResultsWriter', 'LvisEvaluation']
