"""Focal loss towards the overlap of the matched box."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class QueryGIoUAwareFocalLoss(nn.Module):
    """Focal loss whose target at the matched class is (GIoU + 1) / 2 instead of one.

    Rank-DETR (Pu et al. 2023), rank-oriented loss and matching cost. Needs `criterion.quality='giou'`.

    Args:
        alpha: weight of positives, 1 - alpha that of negatives.
        gamma: exponent of the distance between score and target.
    """

    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, positive: Tensor, quality: Tensor) -> Tensor:
        """logits, positive (1 at the matched class, else 0) (..., Q, C); quality (..., Q): GIoU -> (..., Q, C)."""
        target = positive * ((quality + 1) / 2)[..., None]
        distance = (target - logits.sigmoid()).abs()
        alpha = self.alpha * positive + (1 - self.alpha) * (1 - positive)
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
        return alpha * distance ** self.gamma * entropy
