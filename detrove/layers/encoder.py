"""The encoder of deformable DETRs: tokens of all levels attend to a few positions each."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from .deformable_attention import MSDeformableAttention
from .init import xavier_matrices
from .memory import Memory, token_centres
from .sine import sine_of_tokens


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward, each with residual and post-norm (Zhu et al. 2021, section 4.1).

    Args:
        embed_dims, num_heads, num_levels, num_points: see `MSDeformableAttention`.
        feedforward_dims: hidden channels of the feed-forward network.
        dropout: dropout probability everywhere in the layer.
    """

    def __init__(self, *, embed_dims: int, num_heads: int, num_levels: int, num_points: int | Sequence[int],
                 feedforward_dims: int, dropout: float):
        super().__init__()
        self.self_attn = MSDeformableAttention(embed_dims=embed_dims, num_heads=num_heads, num_levels=num_levels,
                                               num_points=num_points)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, feedforward_dims)
        self.linear2 = nn.Linear(feedforward_dims, embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, memory: Memory, position: Tensor, reference: Tensor) -> Memory:
        """position (B or 1, S, C) and reference (B or 1, S, 2) of the tokens -> memory with new tokens."""
        tokens = memory.tokens
        tokens = self.norm1(tokens + self.dropout(self.self_attn(tokens + position, reference, memory)))
        hidden = self.dropout(F.relu(self.linear1(tokens)))
        return memory.with_tokens(self.norm2(tokens + self.dropout(self.linear2(hidden))))


@MODELS.register_module()
class DeformableEncoder(nn.Module):
    """Deformable encoder layers over all feature levels.

    Deformable DETR (Zhu et al. 2021), section 4.1; used by DINO, H-DETR, Rank-DETR and Relation-DETR.

    Args:
        num_layers: number of layers.
        num_heads, num_points, feedforward_dims, dropout: of the layers.
        temperature, offset: of the position embedding, see `sine_of_tokens`.
        fusion: config of a module that makes the memory from the tokens before and after every layer,
            `list of num_layers + 1 tensors (B, S, C) -> (B, S, C)`; None takes the last ones.
        embed_dims, num_levels: given by the detector.
    """

    def __init__(self, *, num_layers: int = 6, num_heads: int = 8, num_points: int | Sequence[int] = 4,
                 feedforward_dims: int = 1024, dropout: float = 0.0, temperature: float = 10000.0,
                 offset: float = 0.0, fusion: dict | None = None, embed_dims: int = 256, num_levels: int = 4):
        super().__init__()
        layer = dict(embed_dims=embed_dims, num_heads=num_heads, num_levels=num_levels, num_points=num_points,
                     feedforward_dims=feedforward_dims, dropout=dropout)
        self.layers = nn.ModuleList(DeformableEncoderLayer(**layer) for _ in range(num_layers))
        self.level_embedding = nn.Parameter(torch.randn(num_levels, embed_dims))
        xavier_matrices(self.layers)
        self.fusion = None
        if fusion is not None:
            self.fusion = MODELS.build(fusion, default_args=dict(embed_dims=embed_dims, num_layers=num_layers))
        self.temperature = temperature
        self.offset = offset

    def forward(self, memory: Memory) -> Memory:
        """Memory of the backbone's levels -> encoded memory."""
        tokens = memory.tokens
        sine = sine_of_tokens(memory, tokens.shape[-1], self.temperature, self.offset)
        sizes = [height * width for height, width in memory.spatial_shapes]
        levels = torch.cat([row.expand(size, -1) for row, size in zip(self.level_embedding, sizes, strict=True)])
        position = sine.to(tokens.dtype) + levels.to(tokens.dtype)
        reference = token_centres(memory)
        history = [tokens]
        for layer in self.layers:
            memory = layer(memory, position, reference)
            if self.fusion is not None:
                history.append(memory.tokens)
        return memory if self.fusion is None else memory.with_tokens(self.fusion(history))
