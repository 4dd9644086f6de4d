"""Training losses of DETR queries."""

from .criterion import DETRCriterion
from .focal import QueryFocalLoss
from .mask import PointMaskCriterion, QueryMasks
from .set_prediction import PredictionSet, set_losses
from .varifocal import QueryVarifocalLoss

__all__ = [
    'DETRCriterion', 'PointMaskCriterion', 'PredictionSet', 'QueryFocalLoss', 'QueryMasks', 'QueryVarifocalLoss',
    'set_losses',
]
