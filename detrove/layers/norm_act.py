"""Batch norms and what follows them, a SiLU or a ReLU and a max pool, which keep less for the backward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_aten = torch.ops.aten


def can_recompute(*norms: nn.Module) -> bool:
    """Whether the functions here may take these norms: plain batch norms in training, outside of a compiler."""
    return not torch.compiler.is_compiling() and all(
        type(norm) is nn.BatchNorm2d and norm.training and norm.affine and norm.track_running_stats
        and norm.momentum is not None for norm in norms)


def norm_silu(*branches: tuple[nn.BatchNorm2d, Tensor]) -> Tensor:
    """SiLU of the sum of normed maps. That sum is not kept for the backward pass but computed again in it.

    A convolution with norm and SiLU so keeps two maps, the inputs of convolution and norm, where it would keep three.

    Args:
        branches: norms, for which `can_recompute` holds, and for each a map (B, C, H, W), all of one shape.

    Returns:
        (B, C, H, W). Its gradients have no further derivative.
    """
    return _normed_then(_SiLU(), branches)


def norm_relu_max_pool(norm: nn.BatchNorm2d, x: Tensor, *geometry: int) -> Tensor:
    """Max pool of the ReLU of normed maps. Neither the ReLU's nor the pool's inputs and indices are kept.

    Args:
        norm: for which `can_recompute` holds.
        x: (B, C, H, W).
        geometry: kernel size, stride and padding of the pool.

    Returns:
        (B, C, H', W'). Its gradients have no further derivative.
    """
    return _normed_then(_ReLUMaxPool(*geometry), [(norm, x)])


class _SiLU:
    """What follows the norms; both methods may overwrite `total`, the sum of normed maps."""

    def forward(self, total: Tensor) -> Tensor:
        return F.silu(total, inplace=True)

    def backward(self, grad: Tensor, total: Tensor) -> Tensor:
        return _aten.silu_backward.grad_input(grad, total, grad_input=total)


class _ReLUMaxPool:
    """The same for a ReLU and a max pool."""

    def __init__(self, *geometry: int):
        self.geometry = [[size, size] for size in (*geometry, 1)]  # and the dilation

    def _pool(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return _aten.max_pool2d_with_indices(maps, *self.geometry)

    def forward(self, total: Tensor) -> Tensor:
        return self._pool(F.relu(total, inplace=True))[0]

    def backward(self, grad: Tensor, total: Tensor) -> Tensor:
        maps = F.relu(total, inplace=True)
        grad = _aten.max_pool2d_with_indices_backward(grad, maps, *self.geometry, False, self._pool(maps)[1])
        return _aten.threshold_backward.grad_input(grad, maps, 0, grad_input=grad)


def _normed_then(after: _SiLU | _ReLUMaxPool, branches: Sequence[tuple[nn.BatchNorm2d, Tensor]]) -> Tensor:
    for norm, _ in branches:
        norm.num_batches_tracked.add_(1)
    norms = [norm for norm, _ in branches]
    return _NormedThen.apply(after, norms, *(tensor for norm, x in branches for tensor in (x, norm.weight, norm.bias)))


class _NormedThen(torch.autograd.Function):
    """Inputs and saved tensors: of each norm its map, weight and bias; saved also mean and inverse deviation."""

    @staticmethod
    def forward(ctx, after: _SiLU | _ReLUMaxPool, norms: list[nn.BatchNorm2d], *inputs: Tensor) -> Tensor:
        total, saved = None, []
        for number, norm in enumerate(norms):
            branch = inputs[3 * number:3 * number + 3]
            normed, *statistics = _aten.native_batch_norm(*branch, norm.running_mean, norm.running_var, True,
                                                          norm.momentum, norm.eps)
            total = normed if total is None else total.add_(normed)
            saved += [*branch, *statistics]
        ctx.after, ctx.eps = after, [norm.eps for norm in norms]
        ctx.save_for_backward(*saved)
        return after.forward(total)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        branches = [(*ctx.saved_tensors[5 * number:5 * number + 5], eps) for number, eps in enumerate(ctx.eps)]
        total = None
        for x, weight, bias, mean, inverse_deviation, eps in branches:
            # with these statistics for constants
            normed = F.batch_norm(x, mean, inverse_deviation**-2 - eps, weight, bias, eps=eps)
            total = normed if total is None else total.add_(normed)
        grad = ctx.after.backward(grad, total)
        grads = []
        for number, (x, weight, _, mean, inverse_deviation, eps) in enumerate(branches):
            needed = ctx.needs_input_grad[2 + 3 * number:5 + 3 * number]
            grads += _aten.native_batch_norm_backward(grad, x, weight, None, None, mean, inverse_deviation, True, eps,
                                                      needed)
        return None, None, *grads
