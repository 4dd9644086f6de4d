"""A batch norm and the SiLU behind it, which keep less for the backward pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_aten = torch.ops.aten


def can_recompute(activation: nn.Module, *norms: nn.Module) -> bool:
    """Whether `norm_silu` may take the place of these modules: plain batch norms in training, outside of a compiler."""
    if not isinstance(activation, nn.SiLU) or torch.compiler.is_compiling():
        return False
    return all(type(norm) is nn.BatchNorm2d and norm.training and norm.affine and norm.track_running_stats
               and norm.momentum is not None for norm in norms)


def norm_silu(*branches: tuple[nn.BatchNorm2d, Tensor]) -> Tensor:
    """SiLU of the sum of normed maps. That sum is not kept for the backward pass but computed again in it.

    A convolution with norm and SiLU so keeps two maps, the inputs of convolution and norm, where it would keep three.

    Args:
        branches: norms, for which `can_recompute` holds, and for each a map (B, C, H, W), all of one shape.

    Returns:
        (B, C, H, W). Its gradients have no further derivative.
    """
    for norm, _ in branches:
        norm.num_batches_tracked.add_(1)
    norms = [norm for norm, _ in branches]
    return _NormSiLU.apply(norms, *(tensor for norm, x in branches for tensor in (x, norm.weight, norm.bias)))


class _NormSiLU(torch.autograd.Function):
    """Inputs and saved tensors: of each norm its map, weight and bias; saved also mean and inverse deviation."""

    @staticmethod
    def forward(ctx, norms: list[nn.BatchNorm2d], *inputs: Tensor) -> Tensor:
        total, saved = None, []
        for number, norm in enumerate(norms):
            branch = inputs[3 * number:3 * number + 3]
            normed, *statistics = _aten.native_batch_norm(*branch, norm.running_mean, norm.running_var, True,
                                                          norm.momentum, norm.eps)
            total = normed if total is None else total.add_(normed)
            saved += [*branch, *statistics]
        ctx.eps = [norm.eps for norm in norms]
        ctx.save_for_backward(*saved)
        return F.silu(total, inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        branches = [(*ctx.saved_tensors[5 * number:5 * number + 5], eps) for number, eps in enumerate(ctx.eps)]
        total = None
        for x, weight, bias, mean, inverse_deviation, eps in branches:
            # with these statistics for constants
            normed = F.batch_norm(x, mean, inverse_deviation**-2 - eps, weight, bias, eps=eps)
            total = normed if total is None else total.add_(normed)
        grad = _aten.silu_backward.grad_input(grad, total, grad_input=total)
        grads = []
        for number, (x, weight, _, mean, inverse_deviation, eps) in enumerate(branches):
            needed = ctx.needs_input_grad[1 + 3 * number:4 + 3 * number]
            grads += _aten.native_batch_norm_backward(grad, x, weight, None, None, mean, inverse_deviation, True, eps,
                                                      needed)
        return None, *grads
