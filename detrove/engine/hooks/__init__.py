"""Hooks of detrove's runner."""

from .fuse import FuseHook
from .progress import ProgressHook
from .stop_augmentation import StopAugmentation
from .summary import SummaryHook

__all__ = ['FuseHook', 'ProgressHook', 'StopAugmentation', 'SummaryHook']
