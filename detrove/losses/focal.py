"""Focal loss on queries."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers.rows import Rows

from .negatives import own_and_negatives, weighted_negatives


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

    def target(self, quality: Tensor) -> Tensor:
        """What the score of the matched class is to become; quality of boxes (...) -> (...)."""
        return quality.new_ones(quality.shape)

    def forward(self, logits: Rows, labels: Tensor, matched: Tensor, quality: Tensor) -> Tensor:
        """Loss of each query, summed over classes.

        Args:
            logits: (..., Q, C), or parts of rows (B, Q, C).
            labels: (..., Q) int64, class of the matched object; any class where there is none.
            matched: (..., Q), 1 for matched queries, else 0.
            quality: (..., Q), overlap of the query's box with that of the object.

        Returns:
            (..., Q).
        """
        own, negatives = own_and_negatives(logits, labels, self.gamma, True)
        target = self.target(quality)
        distance = (target - own.sigmoid()).abs()
        entropy = F.binary_cross_entropy_with_logits(own, target, reduction='none')
        positive = self.alpha * distance**self.gamma * entropy
        own_as_negative = weighted_negatives(own[..., None], self.gamma, True)
        return (1 - self.alpha) * (negatives - matched * own_as_negative) + matched * positive
