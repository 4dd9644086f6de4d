"""Metrics, registered in mmdet's METRICS."""

from .coco import CocoEvaluation
from .coco_format import CocoResultsWriter

__all__ = ['CocoEvaluation', 'CocoResultsWriter']
