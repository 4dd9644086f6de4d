"""The decoder layer of Conditional DETR and DAB-DETR, and the spatial query that it takes."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn

from .conditional_attention import ConditionalCrossAttention, ConditionalSelfAttention
from .conv import build_activation
from .init import xavier_matrices
from .memory import Memory
from .mlp import MLP
from .query_branches import QueryBranch
from .sine import sine_of_boxes


@MODELS.register_module()
class ConditionalDecoderLayer(nn.Module):
    """Self-attention within query branches, conditional cross-attention, feed-forward; each with residual and norm.

    Conditional DETR (Meng et al. 2021), section 3.3; DAB-DETR (Liu et al. 2022) has other spatial queries.

    Args:
        num_heads: number of heads.
        feedforward_dims: hidden channels of the feed-forward network.
        activation: of the feed-forward network; 'relu', or 'prelu' (DAB-DETR).
        dropout: dropout probability everywhere in the layer.
        located_content: see `ConditionalCrossAttention`; for the first layer of a decoder.
        embed_dims: channels of the queries, given by the decoder.
        num_levels: given by the decoder; all tokens are attended to, of whatever level.
    """

    def __init__(self, *, num_heads: int = 8, feedforward_dims: int = 2048, activation: str = 'relu',
                 dropout: float = 0.0, located_content: bool = False, embed_dims: int = 256, num_levels: int = 1):
        super().__init__()
        self.self_attn = ConditionalSelfAttention(embed_dims, num_heads, dropout)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.cross_attn = ConditionalCrossAttention(embed_dims, num_heads, dropout, located_content=located_content)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, feedforward_dims)
        self.activation = build_activation(activation)
        self.linear2 = nn.Linear(feedforward_dims, embed_dims)
        self.norm3 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, query_pos: Tensor, reference: Tensor, memory: Memory,
                branches: Sequence[QueryBranch] | None = None, attention_bias: Sequence[Tensor | None] | None = None,
                *, spatial_query: Tensor) -> Tensor:
        """As `DeformableDecoderLayer`, but `spatial_query` (B, Q, C), see below, stands for the reference."""
        query = self.norm1(query + self.dropout(self.self_attn(query, query_pos, branches, attention_bias)))
        query = self.norm2(query + self.dropout(self.cross_attn(query, query_pos, spatial_query, memory)))
        hidden = self.dropout(self.activation(self.linear1(query)))
        return self.norm3(query + self.dropout(self.linear2(hidden)))


@MODELS.register_module()
class ConditionalSpatialQuery(nn.Module):
    """The sine embedding of the reference's centre, scaled by the query from the second layer on.

    Conditional DETR (Meng et al. 2021), section 3.3.

    Args:
        modulated: widen the attention along x and y with the width and height of the reference box: the two halves of
            the embedding are multiplied by the size that the query asks for over the reference's (DAB-DETR, Liu et al.
            2022, section 4.4).
        embed_dims: channels of the queries, given by the decoder.
    """

    def __init__(self, *, modulated: bool = False, embed_dims: int = 256):
        super().__init__()
        self.num_feats = embed_dims // 2
        self.scale = MLP(embed_dims, embed_dims, embed_dims, num_layers=2)
        self.size = MLP(embed_dims, embed_dims, 2, num_layers=2) if modulated else None
        xavier_matrices(self)

    def forward(self, layer: int, query: Tensor, reference: Tensor) -> Tensor:
        """query (B, Q, C), reference (B, Q, 4 or 2) in [0, 1] -> (B, Q, C) for decoder layer `layer`."""
        spatial = sine_of_boxes(reference, self.num_feats, order='yx').to(query.dtype)
        if layer > 0:
            spatial = spatial * self.scale(query)
        if self.size is not None:
            ratio_hw = (self.size(query).sigmoid() / reference[..., 2:]).flip(-1).to(query.dtype)
            spatial = spatial * ratio_hw.repeat_interleave(self.num_feats, -1)
        return spatial
