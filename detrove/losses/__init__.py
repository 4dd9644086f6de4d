"""Training losses of DETR queries."""

from .criterion import DETRCriterion
from .varifocal import QueryVarifocalLoss

__all__ = ['DETRCriterion', 'QueryVarifocalLoss']
