"""The decoder that every DETR here shares: layers that refine boxes step by step."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.ops.boxes import inverse_sigmoid

from .deformable_attention import MSDeformableAttention
from .mlp import MLP
from .query_branches import QueryBranch
from .self_attention import BranchSelfAttention

SpatialShapes = tuple[tuple[int, int], ...]


class DecoderOutput(NamedTuple):
    """Predictions of L layers for Q queries; in inference only the last layer is there (L = 1).

    logits (L, B, Q, num_classes); boxes_cxcywh (L, B, Q, 4), normalised to [0, 1].
    """

    logits: Tensor
    boxes_cxcywh: Tensor


@MODELS.register_module()
class DeformableDecoderLayer(nn.Module):
    """Self-attention within query branches, deformable cross-attention, feed-forward; each with residual and post-norm.

    Deformable DETR (Zhu et al. 2021), with boxes as references.

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

    def forward(self, query: Tensor, query_pos: Tensor, reference_cxcywh: Tensor, memory: Tensor,
                spatial_shapes: SpatialShapes, branches: Sequence[QueryBranch] | None = None) -> Tensor:
        """query, query_pos (B, Q, C); reference_cxcywh (B, Q, 4) in [0, 1]; memory (B, S, C) -> query (B, Q, C)."""
        query = self.norm1(query + self.dropout(self.self_attn(query, query_pos, branches)))
        sampled = self.cross_attn(query + query_pos, reference_cxcywh, memory, spatial_shapes)
        query = self.norm2(query + self.dropout(sampled))
        hidden = self.dropout(F.relu(self.linear1(query)))
        return self.norm3(query + self.dropout(self.linear2(hidden)))


@MODELS.register_module()
class DETRDecoder(nn.Module):
    """Identical layers, each followed by a refinement of the reference boxes.

    Box refinement as in Deformable DETR; in training a layer's boxes also pass gradient to the layer before it ("look
    forward twice", DINO, Zhang et al. 2023, section 3.4). Query positions come from the boxes by an MLP (RT-DETR).

    Args:
        layer: config of the decoder layer; every layer starts with the same weights, as in the official code.
        num_layers: number of layers.
        eval_layers: layers used in inference, counted from the first; None for all. Fewer are faster, without new
            training (RT-DETR, section 4.4).
        embed_dims, num_levels: given to the layer unless it sets them itself.
    """

    def __init__(self, *, layer: dict, num_layers: int = 6, eval_layers: int | None = None, embed_dims: int = 256,
                 num_levels: int = 3):
        super().__init__()
        if eval_layers is not None and not 1 <= eval_layers <= num_layers:
            raise ValueError(f'decoder.eval_layers={eval_layers} must lie between 1 and num_layers={num_layers}.')
        first = MODELS.build(layer, default_args=dict(embed_dims=embed_dims, num_levels=num_levels))
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(num_layers))
        self.query_pos_head = MLP(4, 2 * embed_dims, embed_dims, num_layers=2)
        for linear in self.query_pos_head.layers:
            nn.init.xavier_uniform_(linear.weight)
        self.eval_layers = eval_layers

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def forward(self, query: Tensor, reference_unact: Tensor, memory: Tensor, spatial_shapes: SpatialShapes,
                head: nn.Module, branches: Sequence[QueryBranch] | None = None) -> DecoderOutput:
        """Decode queries of all branches.

        Args:
            query: (B, Q, C) content of the queries, main branch first.
            reference_unact: (B, Q, 4) initial boxes before the sigmoid, without gradient.
            memory: (B, S, C) flattened feature levels.
            spatial_shapes: (h, w) of each level.
            head: gives `box_delta(layer, query)` and `classify(layer, query)`.
            branches: see `BranchSelfAttention`.
        """
        if self.training:
            return self._forward_train(query, reference_unact, memory, spatial_shapes, head, branches)
        last = (self.eval_layers or self.num_layers) - 1
        reference = reference_unact.sigmoid()
        for i, layer in enumerate(self.layers[:last + 1]):
            query = layer(query, self._position(reference, query), reference, memory, spatial_shapes, branches)
            reference = (head.box_delta(i, query) + inverse_sigmoid(reference)).sigmoid()
        return DecoderOutput(head.classify(last, query)[None], reference[None])

    def _forward_train(self, query, reference_unact, memory, spatial_shapes, head, branches) -> DecoderOutput:
        reference = previous = reference_unact.sigmoid()
        logits, boxes = [], []
        for i, layer in enumerate(self.layers):
            query = layer(query, self._position(reference, query), reference, memory, spatial_shapes, branches)
            delta = head.box_delta(i, query)
            logits.append(head.classify(i, query))
            # look forward twice: the loss of this layer also reaches the layer that made `previous`, but no further
            boxes.append((delta + inverse_sigmoid(previous)).sigmoid())
            previous = (delta + inverse_sigmoid(reference)).sigmoid()
            reference = previous.detach()
        return DecoderOutput(torch.stack(logits), torch.stack(boxes))

    def _position(self, reference: Tensor, query: Tensor) -> Tensor:
        return self.query_pos_head(reference).to(query.dtype)
