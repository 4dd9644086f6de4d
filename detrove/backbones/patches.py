"""Patch embedding and patch merging as Swin has them, on maps with channels last."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Patches of 4 x 4 pixels through a linear layer and a norm; images are padded at the right and the bottom.

    Args:
        dims: channels of a token.
    """

    def __init__(self, dims: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dims, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(dims)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) -> (B, ceil(H / 4), ceil(W / 4), dims)."""
        height, width = images.shape[2:]
        if height % 4 or width % 4:
            images = F.pad(images, (0, -width % 4, 0, -height % 4))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the channels; odd maps are padded at the right and the bottom.

    The neighbours are joined column by column: upper left, lower left, upper right, lower right, as the original code
    of Swin orders them (mmdet's goes row by row, channel by channel).

    Args:
        dims: channels of the input.
    """

    def __init__(self, dims: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dims)
        self.reduction = nn.Linear(4 * dims, 2 * dims, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dims) -> (B, ceil(H / 2), ceil(W / 2), 2 dims)."""
        height, width = x.shape[1:3]
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=-1)
        return self.reduction(self.norm(x))
