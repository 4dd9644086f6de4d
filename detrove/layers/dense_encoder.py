"""The encoder of plain DETRs: each token of the one feature level attends to all others."""

import dataclasses

from mmdet.registry import MODELS
from torch import Tensor, nn

from .conv import build_activation
from .init import xavier_matrices
from .memory import Memory
from .mlp import MLP
from .self_attention import BranchSelfAttention
from .sine import sine_of_tokens


class DenseEncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with residual and post-norm (DETR, Carion et al. 2020, appendix A.4).

    Args:
        embed_dims, num_heads: of the attention.
        feedforward_dims: hidden channels of the feed-forward network.
        activation: of the feed-forward network.
        dropout: dropout probability everywhere in the layer.
    """

    def __init__(self, *, embed_dims: int, num_heads: int, feedforward_dims: int, activation: str, dropout: float):
        super().__init__()
        self.self_attn = BranchSelfAttention(embed_dims, num_heads, dropout)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, feedforward_dims)
        self.activation = build_activation(activation)
        self.linear2 = nn.Linear(feedforward_dims, embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor, padding_bias: Tensor | None) -> Tensor:
        """tokens (B, S, C), position (B or 1, S, C), padding_bias (B, 1, 1, S), -inf where padded -> tokens."""
        bias = None if padding_bias is None else [padding_bias]
        tokens = self.norm1(tokens + self.dropout(self.self_attn(tokens, position, bias=bias)))
        hidden = self.dropout(self.activation(self.linear1(tokens)))
        return self.norm2(tokens + self.dropout(self.linear2(hidden)))


@MODELS.register_module()
class DenseEncoder(nn.Module):
    """Encoder layers with attention between all tokens of one feature level; padding is not attended to.

    DETR (Carion et al. 2020), section 3.2; used by Conditional DETR and DAB-DETR, on the backbone's last stage with
    stride 32, or 16 if that stage is dilated (DC5).

    Args:
        num_layers: number of layers.
        num_heads, feedforward_dims, activation, dropout: of the layers.
        scaled: multiply the position embedding by an MLP of the tokens before each layer (DAB-DETR).
        temperature: of the position embedding, see `sine_of_tokens`.
        embed_dims, num_levels: given by the detector.

    Raises:
        ValueError: if there is more than one feature level: their tokens would look alike.
    """

    def __init__(self, *, num_layers: int = 6, num_heads: int = 8, feedforward_dims: int = 2048,
                 activation: str = 'relu', dropout: float = 0.0, scaled: bool = False, temperature: float = 10000.0,
                 embed_dims: int = 256, num_levels: int = 1):
        super().__init__()
        if num_levels != 1:
            raise ValueError(f'DenseEncoder is for models with num_levels=1, not {num_levels}; '
                             f'use DeformableEncoder for several feature levels.')
        self.layers = nn.ModuleList(
            DenseEncoderLayer(embed_dims=embed_dims, num_heads=num_heads, feedforward_dims=feedforward_dims,
                              activation=activation, dropout=dropout) for _ in range(num_layers))
        self.scale = MLP(embed_dims, embed_dims, embed_dims, num_layers=2) if scaled else None
        xavier_matrices(self)
        self.temperature = temperature

    def forward(self, memory: Memory) -> Memory:
        """Memory of the backbone's level -> encoded memory that knows the positions of its tokens."""
        tokens, padding_bias = memory.tokens, None
        position = sine_of_tokens(memory, tokens.shape[-1], self.temperature).to(tokens.dtype)
        if memory.padding is not None:
            padding_bias = tokens.new_zeros(memory.padding.shape).masked_fill(memory.padding, -float('inf'))
            padding_bias = padding_bias[:, None, None]
        for layer in self.layers:
            scaled = position if self.scale is None else position * self.scale(tokens)
            tokens = layer(tokens, scaled, padding_bias)
        return dataclasses.replace(memory, tokens=tokens, position=position)
