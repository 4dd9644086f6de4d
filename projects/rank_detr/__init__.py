"""Rank-DETR (Pu et al. 2023)."""

from . import checkpoint
from .giou_aware_loss import QueryGIoUAwareFocalLoss
from .high_order_matcher import HighOrderMatcher
from .rank_adaptive_head import RankAdaptiveHead
from .ranking import QueryRanking

__all__ = ['HighOrderMatcher', 'QueryGIoUAwareFocalLoss', 'QueryRanking', 'RankAdaptiveHead', 'checkpoint']
