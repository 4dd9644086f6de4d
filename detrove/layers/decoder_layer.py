"""Decoder layers. Any module with the arguments of `DeformableDecoderLayer.forward` can take its place."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from .deformable_attention import MSDeformableAttention
from .memory import Memory
from .query_branches import QueryBranch
from .self_attention import BranchSelfAttention


@MODELS.register_module()
class DeformableDecoderLayer(nn.Module):
    """Self-attention within query branches, deformable cross-attention, feed-forward; each with residual and post-norm.

    Deformable DETR (Zhu et al. 2021).

    Args:
        embed_dims, num_heads, num_levels, num_points, sampling_method: see `MSDeformableAttention`.
        feedforward_dims: hidden channels of the feed-forward network.
        dropout: dropout probability everywhere in the layer.
        feedforward_init: 'default' (PyTorch's) or 'xavier' (RT-DETRv2).
    """

    def __init__(self, *, embed_dims: int = 256, num_heads: int = 8, num_levels: int = 3,
                 num_points: int | Sequence[int] = 4, sampling_method: str = 'default',
                 feedforward_dims: int = 1024, dropout: float = 0.0, feedforward_init: str = 'default'):
        super().__init__()
        self.self_attn = BranchSelfAttention(embed_dims, num_heads, dropout)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.cross_attn = MSDeformableAttention(embed_dims=embed_dims, num_heads=num_heads, num_levels=num_levels,
                                                num_points=num_points, method=sampling_method)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, feedforward_dims)
        self.linear2 = nn.Linear(feedforward_dims, embed_dims)
        self.norm3 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)
        if feedforward_init not in ('default', 'xavier'):
            raise ValueError(f"feedforward_init={feedforward_init!r} must be 'default' or 'xavier'.")
        if feedforward_init == 'xavier':
            nn.init.xavier_uniform_(self.linear1.weight)
            nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, query: Tensor, query_pos: Tensor, reference: Tensor, memory: Memory,
                branches: Sequence[QueryBranch] | None = None,
                attention_bias: Sequence[Tensor | None] | None = None) -> Tensor:
        """One layer.

        Args:
            query, query_pos: (B, Q, C).
            reference: (B, Q, 4) boxes or (B, Q, 2) points in [0, 1].
            memory: the encoder's memory.
            branches, attention_bias: see `BranchSelfAttention`.

        Returns:
            query (B, Q, C).
        """
        query = self.norm1(query + self.dropout(self.self_attn(query, query_pos, branches, attention_bias)))
        query = self.norm2(query + self.dropout(self.cross_attn(query + query_pos, reference, memory)))
        hidden = self.dropout(F.relu(self.linear1(query)))
        return self.norm3(query + self.dropout(self.linear2(hidden)))
