"""The class loss of logits that no object belongs to: nearly all of them, so it costs what a class loss costs."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def weighted_negatives(logits: Tensor, gamma: float, weight_learns: bool) -> Tensor:
    """Sum over classes of `score ** gamma * -log(1 - score)`, score the sigmoid of a logit.

    The gradient is made beside the value, in place where that is possible: one tensor of the logits' size is kept for
    the backward pass, and there are fewer passes over memory than in the same lines written out for autograd.

    Args:
        logits: (..., C), fp32 or fp64.
        gamma: how much confident negatives count more than others.
        weight_learns: whether the factor `score ** gamma` passes gradient (focal loss) or not (varifocal loss).

    Returns:
        (...).
    """
    return _WeightedNegatives.apply(logits, gamma, weight_learns)


class _WeightedNegatives(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, gamma: float, weight_learns: bool) -> Tensor:
        score = logits.sigmoid()
        weight = score.square() if gamma == 2 else score**gamma
        loss = F.softplus(logits, threshold=50).mul_(weight)  # exact to fp64 below the threshold
        total = loss.sum(-1)
        if ctx.needs_input_grad[0]:
            gradient = weight.mul_(score)
            if weight_learns:  # d(score ** gamma) = gamma * score ** gamma * (1 - score)
                gradient.add_(loss, alpha=gamma).addcmul_(loss, score, value=-gamma)
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_total: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * grad_total[..., None], None, None
