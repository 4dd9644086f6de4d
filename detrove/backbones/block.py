"""The residual block that Swin, CSWin, NAT and DiNAT share: attention, then a perceptron, each behind a norm."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import stochastic_depth


class FeedForward(nn.Module):
    """Linear, exact GELU, linear.

    Args:
        dims: channels of input and output.
        hidden_dims: channels between the two layers.
    """

    def __init__(self, dims: int, hidden_dims: int):
        super().__init__()
        self.fc1 = nn.Linear(dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., dims) -> (..., dims)."""
        hidden = self.fc1(x)
        # The largest tensor of a block; without a gradient nobody needs it twice.
        hidden = F.gelu(hidden) if hidden.requires_grad else torch.ops.aten.gelu_(hidden)
        return self.fc2(hidden)


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), on maps with channels last.

    Args:
        dims: channels.
        attention: maps (B, H, W, dims) to the same shape, any size.
        mlp_ratio: hidden channels of the perceptron over `dims`.
        drop_path: probability with which an image skips a residual branch in training. Skipped is skipped: branches
            are computed for the other images only.
        layer_scale: initial value of a learned factor for each channel of both branches; None: no such factors.
    """

    def __init__(self, dims: int, attention: nn.Module, *, mlp_ratio: float = 4.0, drop_path: float = 0.0,
                 layer_scale: float | None = None):
        super().__init__()
        self.norm1 = nn.LayerNorm(dims)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dims)
        self.mlp = FeedForward(dims, int(dims * mlp_ratio))
        self.drop_path = drop_path
        for name in ('gamma1', 'gamma2'):
            gamma = None if layer_scale is None else nn.Parameter(torch.full((dims,), float(layer_scale)))
            self.register_parameter(name, gamma)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dims) -> (B, H, W, dims)."""
        x = self._add(x, lambda x: self.attn(self.norm1(x)), self.gamma1)
        return self._add(x, lambda x: self.mlp(self.norm2(x)), self.gamma2)

    def _add(self, x: Tensor, branch: Callable[[Tensor], Tensor], gamma: Tensor | None) -> Tensor:
        """x + branch(x), with stochastic depth in training."""
        if not self.training or self.drop_path == 0:
            return x + _scaled(branch(x), gamma)
        if torch.compiler.is_compiling():  # graphs want one batch size
            return x + stochastic_depth(_scaled(branch(x), gamma), self.drop_path, 'row')
        # Drawn on the CPU: how many images are left decides shapes.
        kept = (torch.rand(len(x)) >= self.drop_path).nonzero()[:, 0]
        scale = 1 / (1 - self.drop_path)
        if len(kept) == len(x):
            return torch.add(x, _scaled(branch(x), gamma), alpha=scale)
        if len(kept) == 0:  # the parameters have a gradient (0) all the same, as distributed training demands
            kept, scale = torch.zeros(1, dtype=torch.long), 0.0
        kept = kept.to(x.device)
        added = _scaled(branch(x[kept]), gamma)
        dtype = torch.result_type(x, added)
        return x.to(dtype).index_add(0, kept, added.to(dtype), alpha=scale)


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else x * gamma
