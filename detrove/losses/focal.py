"""Focal loss on queries."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class QueryFocalLoss(nn.Module):
    """Sigmoid focal loss (RetinaNet, Lin et al. 2017, equation 5); the quality of the box plays no part.

    Args:
        alpha: weight of positives, 1 - alpha that of negatives.
        gamma: exponent of the distance between score and target.
    """

    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def target(self, positive: Tensor, quality: Tensor) -> Tensor:
        """What scores are to become, (..., Q, C); arguments as in `forward`."""
        return positive

    def forward(self, logits: Tensor, positive: Tensor, quality: Tensor) -> Tensor:
        """logits, positive (1 at the matched class, else 0) (..., Q, C); quality of boxes (..., Q) -> (..., Q, C)."""
        target = self.target(positive, quality)
        distance = (target - logits.sigmoid()).abs()
        alpha = self.alpha * positive + (1 - self.alpha) * (1 - positive)
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
        return alpha * distance ** self.gamma * entropy
