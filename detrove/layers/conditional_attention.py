"""Attention whose logits have a part from contents and a part from positions (Conditional DETR, Meng et al. 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .memory import Memory
from .self_attention import BranchAttention


class ConditionalSelfAttention(BranchAttention):
    """Self-attention within query branches, with projections of their own for content and position.

    Args:
        embed_dims, num_heads, dropout: see `BranchAttention`.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0):
        super().__init__(embed_dims, num_heads, dropout)
        self.q_content = nn.Linear(embed_dims, embed_dims)
        self.q_position = nn.Linear(embed_dims, embed_dims)
        self.k_content = nn.Linear(embed_dims, embed_dims)
        self.k_position = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)

    def project(self, query: Tensor, query_pos: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        q, k = self.q_content(query), self.k_content(query)
        if query_pos is not None:
            q, k = q + self.q_position(query_pos), k + self.k_position(query_pos)
        return q, k, self.value(query)


class ConditionalCrossAttention(nn.Module):
    """Dense cross-attention in which each head compares contents with contents and positions with positions.

    Conditional DETR (Meng et al. 2021), section 3.3: content and spatial query are concatenated head by head, as are
    content and position of the tokens; the logits are the sum of both products.

    Args:
        embed_dims: channels, divisible by num_heads.
        num_heads: number of heads.
        dropout: dropout probability of the attention weights.
        located_content: add positions to the contents, too, on both sides (the first decoder layer).
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0, *, located_content: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.q_content = nn.Linear(embed_dims, embed_dims)
        self.q_position = nn.Linear(embed_dims, embed_dims) if located_content else None
        self.q_spatial = nn.Linear(embed_dims, embed_dims)
        self.k_content = nn.Linear(embed_dims, embed_dims)
        self.k_position = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, query_pos: Tensor, spatial_query: Tensor, memory: Memory) -> Tensor:
        """Attend to the tokens of each query's own image that are not padding.

        Args:
            query, query_pos, spatial_query: (B, Q, C).
            memory: of an encoder that gives positions.

        Returns:
            (B, Q, C).
        """
        if memory.position is None:
            raise ValueError('conditional cross-attention needs the positions of the tokens: use an encoder that gives '
                             "them, encoder=dict(type='DenseEncoder').")
        q_content, k_content = self.q_content(query), self.k_content(memory.tokens)
        k_position = self.k_position(memory.position)
        if self.q_position is not None:
            q_content, k_content = q_content + self.q_position(query_pos), k_content + k_position
        q = torch.cat([self._heads(q_content), self._heads(self.q_spatial(spatial_query))], -1)
        k = torch.cat([self._heads(k_content), self._heads(k_position.expand_as(k_content))], -1)
        visible = None if memory.padding is None else ~memory.padding[:, None, None]
        out = F.scaled_dot_product_attention(q, k, self._heads(self.value(memory.tokens)), visible,
                                             dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
