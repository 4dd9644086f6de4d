"""Self-attention of every pixel to its dilated neighborhood."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detrove.ops import neighborhood_attention


class NeighborhoodAttention2d(nn.Module):
    """Multi-head neighborhood attention with relative position bias (Hassani et al. 2023, section 3).

    A map that is smaller than the window is padded as NATTEN did when the published weights were trained: with zeros
    at the right and the bottom, before the linear layer, so that padding has its bias as key and value and takes part
    in the softmax. NATTEN 0.17 and later do without.

    Args:
        dims: channels.
        num_heads: number of heads, a divisor of `dims`.
        kernel_size: side of the window in pixels that attend, odd.
        dilation: distance between neighbours of a window.
    """

    def __init__(self, dims: int, *, num_heads: int, kernel_size: int = 7, dilation: int = 1):
        super().__init__()
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.qkv = nn.Linear(dims, 3 * dims)
        self.rpb = nn.Parameter(torch.empty(num_heads, 2 * kernel_size - 1, 2 * kernel_size - 1))
        self.proj = nn.Linear(dims, dims)
        nn.init.trunc_normal_(self.rpb, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dims) -> (B, H, W, dims), H and W of any size."""
        height, width = x.shape[1:3]
        window = self.kernel_size * self.dilation
        if height < window or width < window:
            x = F.pad(x, (0, 0, 0, max(0, window - width), 0, max(0, window - height)))
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(3)
        x = neighborhood_attention(query, key, value, self.kernel_size, self.dilation, relative_position_bias=self.rpb)
        return self.proj(x[:, :height, :width].flatten(3))
