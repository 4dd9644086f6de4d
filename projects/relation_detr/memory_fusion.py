"""Fusion of what the encoder's layers make of the tokens."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class MemoryFusion(nn.Module):
    """Two linear layers over the encoder's input and the output of each of its layers, side by side.

    From the official code of Relation-DETR (Hou et al. 2024); the paper does not describe it.

    Args:
        num_layers: encoder layers, given by the encoder.
        embed_dims: channels, given by the encoder.
    """

    def __init__(self, *, num_layers: int, embed_dims: int = 256):
        super().__init__()
        self.linear1 = nn.Linear((num_layers + 1) * embed_dims, embed_dims)
        self.linear2 = nn.Linear(embed_dims, embed_dims)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, history: Sequence[Tensor]) -> Tensor:
        """num_layers + 1 tensors (B, S, C), the encoder's input first -> (B, S, C)."""
        return self.norm(self.linear2(self.linear1(torch.cat(tuple(history), dim=-1)).relu()))
