"""Varifocal loss on queries."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class QueryVarifocalLoss(nn.Module):
    """Binary cross-entropy towards the IoU of the matched box; negatives count by their own score.

    VarifocalNet (Zhang et al. 2021), equation 2, with the negatives' weight detached as RT-DETR does.

    Args:
        alpha: weight of negatives.
        gamma: exponent of a negative's score in its weight.
    """

    def __init__(self, *, alpha: float = 0.75, gamma: float = 2.0):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, positive: Tensor, quality: Tensor) -> Tensor:
        """logits, positive (1 at the matched class, else 0) (..., Q, C); quality (..., Q): IoU -> loss (..., Q, C)."""
        target = positive * quality[..., None]
        weight = self.alpha * logits.detach().sigmoid() ** self.gamma * (1 - positive) + target
        return F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction='none')
