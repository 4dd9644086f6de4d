"""Convolution blocks that know how to fold themselves into their inference form."""

from functools import partial

import torch
import torch.nn.functional as F
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d

from .cpu_conv import CPUConv2d, use_channels_last
from .norm_act import can_recompute, norm_relu_max_pool, norm_silu
from .plain import is_plain_on_cpu, is_replaceable

_FOLDED_FROM = 4  # numbers in the maps for each in the kernels, from which on frozen norms go into the kernels
# What follows a norm or a linear layer may overwrite it: their backward passes need their inputs alone.
_ACTIVATIONS = {'relu': partial(nn.ReLU, inplace=True), 'prelu': nn.PReLU, 'silu': nn.SiLU, 'gelu': nn.GELU}


def build_activation(name: str | None) -> nn.Module:
    """The activation called `name` ('relu', 'prelu', 'silu', 'gelu'), or the identity for None."""
    if name is None:
        return nn.Identity()
    if name not in _ACTIVATIONS:
        raise ValueError(f'activation {name!r} is not known; choose one of {sorted(_ACTIVATIONS)} or None.')
    return _ACTIVATIONS[name]()


class FrozenNorm(FrozenBatchNorm2d):
    """A batch norm whose weights and statistics are constants, in one pass over the maps."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        scale, shift = self.scale_and_shift()
        return torch.addcmul(shift.view(1, -1, 1, 1), x, scale.view(1, -1, 1, 1))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """By which every map is multiplied, and what is added then: (C,) each."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm, activation.

    Args:
        in_channels, out_channels, kernel_size, stride: of the convolution; padding keeps the size at stride 1.
        act: 'relu', 'silu', 'gelu' or None.
        norm_frozen: use a batch norm whose weights and statistics are constants.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *,
                 act: str | None = None, norm_frozen: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.norm = FrozenNorm(out_channels) if norm_frozen else nn.BatchNorm2d(out_channels)
        self.act = build_activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        if isinstance(self.act, nn.SiLU) and can_recompute(self.norm):
            return norm_silu((self.norm, self.conv(x)))
        return self.act(self._normed(x))

    def _normed(self, x: Tensor) -> Tensor:
        if not self._is_folded(x):
            return self.norm(self.conv(x))
        scale, shift = self.norm.scale_and_shift()  # `folded_conv` gives weights that do not learn
        return self.conv._conv_forward(x, self.conv.weight * scale.view(-1, 1, 1, 1), shift)

    def _is_folded(self, x: Tensor) -> bool:
        """Whether to scale the kernels for a frozen norm, and not the maps: these are larger, in float32 on a CPU."""
        conv = self.conv
        if not is_replaceable(self.norm, FrozenNorm) or not is_replaceable(conv, nn.Conv2d, CPUConv2d):
            return False
        if torch.compiler.is_compiling() or not is_plain_on_cpu(x, conv.weight):
            return False
        pixels = x.shape[0] * x.shape[2] * x.shape[3] // (conv.stride[0] * conv.stride[1])
        return pixels * conv.out_channels >= _FOLDED_FROM * conv.weight.numel()

    def max_pooled(self, x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        """The max pool of what `forward` gives, which keeps less for the backward pass if it can."""
        geometry = kernel_size, stride, padding
        if isinstance(self.act, nn.ReLU) and can_recompute(self.norm):
            return norm_relu_max_pool(self.norm, self.conv(x), *geometry)
        return F.max_pool2d(self(x), *geometry)

    def folded_conv(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that equals convolution and norm in eval mode."""
        if isinstance(self.norm, nn.Identity):
            return self.conv.weight, self.conv.bias
        norm = self.norm
        return fuse_conv_bn_weights(self.conv.weight, self.conv.bias, norm.running_mean, norm.running_var,
                                    norm.eps, norm.weight, norm.bias)

    def fuse(self) -> None:
        """Fold the norm into the convolution, in place."""
        weight, bias = self.folded_conv()
        self.conv.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
        self.norm = nn.Identity()
        _write_in_place(self.act)


class RepVGGBlock(nn.Module):
    """Parallel 3x3 and 1x1 convolutions, summed, activated; one 3x3 convolution once fused.

    RepVGG (Ding et al. 2021), without its identity branch, as RT-DETR uses it.
    """

    def __init__(self, channels: int, act: str | None = 'silu'):
        super().__init__()
        self.conv3x3 = ConvNormAct(channels, channels, 3)
        self.conv1x1 = ConvNormAct(channels, channels, 1)
        self.act = build_activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        if self.conv1x1 is None:
            return self.act(self.conv3x3(x))
        branches = self.conv3x3, self.conv1x1
        if isinstance(self.act, nn.SiLU) and can_recompute(*(branch.norm for branch in branches)):
            return norm_silu(*((branch.norm, branch.conv(x)) for branch in branches))
        return self.act(self.conv3x3(x) + self.conv1x1(x))

    def fuse(self) -> None:
        """Merge both branches into the 3x3 convolution, in place."""
        if self.conv1x1 is None:
            return
        weight, bias = self.conv1x1.folded_conv()
        self.conv3x3.fuse()
        with torch.no_grad():
            self.conv3x3.conv.weight += F.pad(weight, [1, 1, 1, 1])
            self.conv3x3.conv.bias += bias
        self.conv1x1 = None
        _write_in_place(self.act)


def _write_in_place(act: nn.Module) -> None:
    """Let an activation overwrite its input, which only its own backward pass would have needed."""
    if isinstance(act, nn.SiLU):
        act.inplace = True


def fuse_for_inference(model: nn.Module) -> nn.Module:
    """Bring every convolution of `model` into its inference form, in place, and return the model in eval mode.

    Modules with a `fuse()` method fold themselves (a block before the parts inside it); batch norms that follow a
    convolution in other modules are folded by mmcv. Kernels, and with them all maps, lie channels last in memory, as
    fast convolutions want them; on CPUs they take the forms of `CPUConv2d`. Outputs stay the same up to rounding;
    training is no longer possible.
    """
    model.eval()
    for module in list(model.modules()):
        if hasattr(module, 'fuse'):
            module.fuse()
    model = fuse_conv_bn(model)
    parameter = next(model.parameters(), None)
    use_channels_last(model, on_cpu=parameter is not None and parameter.device.type == 'cpu')
    for module in model.modules():
        if isinstance(module, CPUConv2d):
            module.prepare_for_inference()
    return model
