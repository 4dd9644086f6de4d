"""Hooks of detrove's runner."""

from .checkpoint import PreemptionHook, WholeCheckpointHook
from .fuse import FuseHook
from .label_range import LabelRangeHook
from .log_windows import LogWindowsHook
from .progress import ProgressHook
from .raw_evaluation import RawEvaluationHook
from .stop_augmentation import StopAugmentation
from .summary import SummaryHook
from .watchdog import WatchdogHook

__all__ = [
    'FuseHook',
    'LabelRangeHook',
    'LogWindowsHook',
    'PreemptionHook',
    'ProgressHook',
    'RawEvaluationHook',
    'StopAugmentation',
    'SummaryHook',
    'WatchdogHook',
    'WholeCheckpointHook',
]
