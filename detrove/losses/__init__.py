"""Training losses of DETR queries."""

from .criterion import DETRCriterion
from .focal import QueryFocalLoss
from .set_prediction import PredictionSet, set_losses
from .varifocal import QueryVarifocalLoss

__all__ = ['DETRCriterion', 'PredictionSet', 'QueryFocalLoss', 'QueryVarifocalLoss', 'set_losses']
