"""Varifocal loss on queries."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers.rows import Rows

from .negatives import own_and_negatives, weighted_negatives


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

    def forward(self, logits: Rows, labels: Tensor, matched: Tensor, quality: Tensor) -> Tensor:
        """Loss of each query, summed over classes; arguments and result as `QueryFocalLoss.forward` has them."""
        own, negatives = own_and_negatives(logits, labels, self.gamma, False)
        positive = F.binary_cross_entropy_with_logits(own, quality, weight=quality, reduction='none')
        own_as_negative = weighted_negatives(own[..., None], self.gamma, False)
        return self.alpha * (negatives - matched * own_as_negative) + matched * positive
