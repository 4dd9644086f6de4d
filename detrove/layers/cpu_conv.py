"""Convolutions that make the most of maps that lie channels last on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from detrove.ops.layout import as_it_lies, is_channels_last, map_of_pixels, pixels_of
from detrove.ops.weight_gradient import weight_gradient
from detrove.ops.winograd import compiled_winograd_conv2d, count_tiles, transform_weight, winograd_conv2d

from .plain import is_plain_on_cpu

# Where each form begins to pay on an EPYC (AVX2), see docs/performance.md.
_WINOGRAD_CHANNELS = 64
_WINOGRAD_TILES = 24  # of 4x4 pixels in a batch: without a limit where weights have been transformed before
_MULTIPLICATIONS = 2**27  # of a forward pass, from which on gradients of weights are `weight_gradient`'s
_COMPILER_TELLS_EXPORT = hasattr(torch.compiler, 'is_exporting')  # torch >= 2.7


class CPUConv2d(nn.Conv2d):
    """`nn.Conv2d` with faster forms for float32 on CPUs, of channels-last maps; else as it was.

    3x3 kernels of stride 1 with many channels take a quarter of the multiplications (`detrove.ops.winograd`), under
    `torch.compile` those that have been prepared for inference. In eager training, 1x1 kernels are products of
    matrices, and so are the gradients of other kernels where there is much to compute (`detrove.ops.weight_gradient`).
    Results differ in rounding alone.
    """

    _transformed: Tensor | None = None

    def prepare_for_inference(self) -> None:
        """Transform the weights once, for good: they take five times the memory. Changed weights undo it."""
        weight = self.weight.detach()
        if self._is_winograd() and weight.device.type == 'cpu' and weight.dtype == torch.float32:
            self._transformed = transform_weight(weight)

    def _is_winograd(self) -> bool:
        same = self.kernel_size == (3, 3) and self.stride == self.padding == self.dilation == (1, 1)
        return same and self.groups == 1 and min(self.weight.shape[:2]) >= _WINOGRAD_CHANNELS

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != 'zeros' or isinstance(self.padding, str) or not _is_served(x, weight):
            return super()._conv_forward(x, weight, bias)
        trains = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        transformed = None if trains or weight is not self.weight else self._transformed
        if torch.compiler.is_compiling():
            if transformed is not None and _COMPILER_TELLS_EXPORT and not torch.compiler.is_exporting():
                return compiled_winograd_conv2d(x, weight, bias, transformed)
            return super()._conv_forward(x, weight, bias)
        if self._is_winograd() and (transformed is not None or count_tiles(x) >= _WINOGRAD_TILES):
            return winograd_conv2d(x, weight, bias, transformed=transformed)
        if trains and self.groups == 1:
            if self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0):
                return _PointwiseConv2d.apply(x, weight, bias)
            if weight.requires_grad and self._count_multiplications(x) >= _MULTIPLICATIONS:
                return _ChannelsLastConv2d.apply(x, weight, bias, self.stride, self.padding, self.dilation)
        return super()._conv_forward(x, weight, bias)

    def _count_multiplications(self, x: Tensor) -> int:
        """Of the forward pass, up to the rim of the maps."""
        pixels = x.shape[0] * x.shape[2] * x.shape[3] // (self.stride[0] * self.stride[1])
        return pixels * self.weight.numel()

    def _apply(self, fn, recurse: bool = True) -> CPUConv2d:
        self._transformed = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._transformed = None
        super()._load_from_state_dict(*args, **kwargs)


def use_channels_last(model: nn.Module, *, on_cpu: bool) -> nn.Module:
    """Lay the kernels of a model, and with them all maps, channels last, in place. Parameters and names stay.

    Args:
        model: any.
        on_cpu: that is where it will run: every plain `nn.Conv2d` becomes a `CPUConv2d`.
    """
    for module in model.modules() if on_cpu else ():
        if type(module) is nn.Conv2d:
            module.__class__ = CPUConv2d
    return model.to(memory_format=torch.channels_last)


def _is_served(x: Tensor, weight: Tensor) -> bool:
    return is_plain_on_cpu(x, weight) and x.dim() == 4 and x.numel() > 0 and is_channels_last(x)


class _PointwiseConv2d(torch.autograd.Function):
    """1x1 kernels. Maps of channels come and go as rows of pixels, without views that autograd would have to follow."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return map_of_pixels(F.linear(pixels_of(x), weight.flatten(1), bias), x).detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        pixels = pixels_of(grad)
        return (map_of_pixels(pixels @ weight.flatten(1), x) if needs_x else None,
                (pixels.t() @ pixels_of(x)).view_as(weight) if needs_weight else None,
                pixels.sum(0) if needs_bias else None)


class _ChannelsLastConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_x = grad_weight = None
        if needs_x:
            grad_x = torch.ops.aten.convolution_backward(grad, x, weight, None, *ctx.geometry, False, (0, 0), 1,
                                                         (True, False, False))[0]
        if needs_weight:
            grad_weight = as_it_lies(weight_gradient(grad, x, weight, *ctx.geometry), weight)  # as DDP expects
        return grad_x, grad_weight, grad.sum((0, 2, 3)) if needs_bias else None, None, None, None
