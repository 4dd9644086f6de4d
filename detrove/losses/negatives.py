"""The class loss of logits that no object belongs to: nearly all of them, so it costs what a class loss costs."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from detrove.layers.rows import Rows, as_rows, split_rows

#: Logits that are computed in one go on a CPU: so few that all steps of them stay in its caches.
CHUNK = 2**17


def weighted_negatives(logits: Tensor, gamma: float, weight_learns: bool) -> Tensor:
    """Sum over classes of `score ** gamma * -log(1 - score)`, score the sigmoid of a logit.

    Args:
        logits: (..., C), fp32 or fp64.
        gamma: how much confident negatives count more than others.
        weight_learns: whether the factor `score ** gamma` passes gradient (focal loss) or not (varifocal loss).

    Returns:
        (...).
    """
    labels = torch.zeros(logits.shape[:-1], dtype=torch.int64, device=logits.device)
    return own_and_negatives(logits, labels, gamma, weight_learns)[1]


def own_and_negatives(logits: Rows, labels: Tensor, gamma: float, weight_learns: bool) -> tuple[Tensor, Tensor]:
    """The logit of each query's own class, and `weighted_negatives` of all its logits.

    The gradient is made beside the value, and the backward pass changes it in place where nobody needs it again: one
    tensor of the logits' size is all that is written. On a CPU the logits are taken in chunks that stay in its cache.

    Args:
        logits: (..., C), fp32 or fp64; or parts of rows (B, R, C).
        labels: (...) int64, the own classes; (B, R) for parts.
        gamma, weight_learns: see `weighted_negatives`.

    Returns:
        (...) twice; (B, R) for parts.
    """
    if isinstance(logits, Tensor):
        return _OwnAndNegatives.apply(logits, labels, gamma, weight_learns)
    found = [_OwnAndNegatives.apply(part, own, gamma, weight_learns)
             for part, own in zip(logits, split_rows(labels, logits), strict=True)]
    own, negatives = (as_rows(parts) for parts in zip(*found, strict=True))
    return own, negatives


class _OwnAndNegatives(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, labels: Tensor, gamma: float, weight_learns: bool) -> tuple[Tensor, Tensor]:
        totals = logits.new_empty(labels.shape)
        gradient = logits.new_empty(logits.shape) if ctx.needs_input_grad[0] else None
        for chunk in _chunks(logits, totals, gradient):
            _negatives(*chunk, gamma, weight_learns)
        if gradient is not None:
            ctx.save_for_backward(gradient, labels)
        return logits.gather(-1, labels[..., None]).squeeze(-1), totals

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_own: Tensor, grad_total: Tensor):
        gradient, labels = ctx.saved_tensors
        gradient = gradient * grad_total[..., None] if _is_graph_kept() else gradient.mul_(grad_total[..., None])
        return gradient.scatter_add_(-1, labels[..., None], grad_own[..., None]), None, None, None


def _chunks(logits: Tensor, totals: Tensor, gradient: Tensor | None) -> Iterable[tuple[Tensor, Tensor, Tensor | None]]:
    """Views of the three that belong together: everything at once, except on a CPU."""
    if logits.device.type != 'cpu' or logits.dim() < 2:
        return [(logits, totals, gradient)]
    number = -(-logits.shape[-2:].numel() // CHUNK) or 1

    def cut(x: Tensor, dims: int) -> list[Tensor]:
        blocks = x.flatten(0, -dims - 1) if x.dim() > dims else x[None]
        return [chunk for chunks in blocks.tensor_split(number, dim=1) for chunk in chunks.unbind()]

    rows, sums = cut(logits, 2), cut(totals, 1)
    return zip(rows, sums, [None] * len(rows) if gradient is None else cut(gradient, 2), strict=True)


def _negatives(logits: Tensor, totals: Tensor, gradient: Tensor | None, gamma: float, weight_learns: bool) -> None:
    """Fill totals (...) and the gradient (..., C) of logits (..., C)."""
    score = logits.sigmoid()
    weight = score.square() if gamma == 2 else score**gamma
    loss = _entropy(logits, score).mul_(weight)
    torch.sum(loss, -1, out=totals)
    if gradient is None:
        return
    if weight_learns:  # weight * score + gamma * loss * (1 - score)
        torch.lerp(loss.mul_(gamma), weight, score, out=gradient)
    else:
        torch.mul(weight, score, out=gradient)


def _entropy(logits: Tensor, score: Tensor) -> Tensor:
    """-log(1 - score), a new tensor. On a CPU from the score, at two thirds of the time, where it is below 0.98: above,
    1 - score has too few digits."""
    if logits.device.type == 'cpu' and logits.numel() and logits.max() < 4:
        return torch.neg(score).log1p_().neg_()
    return F.softplus(logits, threshold=50)  # exact to fp64 below the threshold


def _is_graph_kept() -> bool:
    """Whether the backward pass that is running leaves its graph for another one."""
    return getattr(torch._C._autograd, '_get_current_graph_task_keep_graph', lambda: True)()
