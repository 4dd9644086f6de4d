"""The decoder that every DETR here shares: layers that refine boxes step by step."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.ops.boxes import inverse_sigmoid

from .deformable_attention import MSDeformableAttention
from .init import xavier_matrices
from .memory import Memory
from .query_branches import QueryBranch


class DecoderOutput(NamedTuple):
    """Predictions of L layers for Q queries; in inference only the last layer is there (L = 1).

    logits (L, B, Q, num_classes); boxes_cxcywh (L, B, Q, 4), normalised to [0, 1]; queries: L tensors (B, Q, C), as the
    heads saw them.
    """

    logits: Tensor
    boxes_cxcywh: Tensor
    queries: tuple[Tensor, ...]


class QueryState(NamedTuple):
    """What a query carries from layer to layer; everything that must move when queries are put in another order.

    content (B, Q, C); position (B, Q, C) or None; reference (B, Q, 4 or 2), where the layer looks, without gradient but
    for the first; previous: the same, with the gradient that "look forward twice" wants; relation_source and
    relation_target (B, Q, 4): the boxes between which the position relation of the next layer is taken, or None.
    """

    content: Tensor
    position: Tensor | None
    reference: Tensor
    previous: Tensor
    relation_source: Tensor | None = None
    relation_target: Tensor | None = None

    def reordered(self, order: Tensor) -> 'QueryState':
        """order (B, Q): the present place of each query of the new order."""
        def take(x):
            return None if x is None else x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))
        return QueryState(*map(take, self))


@MODELS.register_module()
class DETRDecoder(nn.Module):
    """Layers, each followed by a refinement of the reference boxes (Deformable DETR, Zhu et al. 2021, appendix A.4).

    Args:
        layer: config of the decoder layer.
        num_layers: number of layers.
        first_layer: settings in which the first layer differs from `layer`; None for none.
        position: config of the module that makes query positions from references; None where the query selection gives
            positions that stay.
        spatial_query: config of the module that makes from query and reference what layers compare with positions of
            tokens (Conditional DETR, DAB-DETR); None for layers that take no such thing.
        norm: apply a layer norm to what the heads see of each layer (DINO).
        look_forward_twice: let a layer's boxes also pass gradient to the layer before it (DINO, Zhang et al. 2023,
            section 3.5).
        refine_boxes: False to keep the first references in all layers.
        relation: config of a position relation, `(source boxes, target boxes, branches) -> attention bias of the next
            layer` (Relation-DETR); None for none.
        ranking: config of a query ranking that reorders and mixes queries between layers (Rank-DETR); None for none.
        eval_layers: layers used in inference, counted from the first; None for all. Fewer are faster, without new
            training (RT-DETR, Zhao et al. 2024, section 4.4).
        eps: of the inverse sigmoid.
        init: 'default': every layer starts with the same weights, as in RT-DETR; 'xavier': see `xavier_matrices`.
        embed_dims, num_levels: given by the detector.
    """

    def __init__(self, *, layer: dict, num_layers: int = 6, first_layer: dict | None = None,
                 position: dict | None = None, spatial_query: dict | None = None, norm: bool = False,
                 look_forward_twice: bool = True, refine_boxes: bool = True, relation: dict | None = None,
                 ranking: dict | None = None, eval_layers: int | None = None, eps: float = 1e-5,
                 init: str = 'default', embed_dims: int = 256, num_levels: int = 3):
        super().__init__()
        if eval_layers is not None and not 1 <= eval_layers <= num_layers:
            raise ValueError(f'decoder.eval_layers={eval_layers} must lie between 1 and num_layers={num_layers}.')
        if init not in ('default', 'xavier'):
            raise ValueError(f"decoder.init={init!r} must be 'default' or 'xavier'.")
        layer_dims = dict(embed_dims=embed_dims, num_levels=num_levels)
        first = MODELS.build(layer, default_args=layer_dims)
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(num_layers))
        if first_layer is not None:
            self.layers[0] = MODELS.build({**layer, **first_layer}, default_args=layer_dims)
        if init == 'xavier':
            xavier_matrices(self.layers)
        dims = dict(embed_dims=embed_dims)
        self.position = None if position is None else MODELS.build(position, default_args=dims)
        self.spatial_query = None if spatial_query is None else MODELS.build(spatial_query, default_args=dims)
        self.norm = nn.LayerNorm(embed_dims) if norm else None
        self.relation = None
        if relation is not None:
            self.relation = MODELS.build(relation, default_args=dict(num_heads=first.self_attn.num_heads))
        self.ranking = None
        if ranking is not None:
            self.ranking = MODELS.build(ranking, default_args=dict(num_layers=num_layers, **dims))
        self.look_forward_twice = look_forward_twice
        self.refine_boxes = refine_boxes
        self.eval_layers = eval_layers
        self.eps = eps

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def forward(self, content: Tensor, reference_unact: Tensor, position: Tensor | None, memory: Memory,
                head: nn.Module, branches: Sequence[QueryBranch]) -> DecoderOutput:
        """Decode queries of all branches.

        Args:
            content: (B, Q, C), main branch first.
            reference_unact: (B, Q, 4) boxes or (B, Q, 2) points before the sigmoid.
            position: (B, Q, C) for a decoder without `position`, else None.
            memory: the encoder's memory.
            head: gives `box_delta(layer, query)` and `classify(layer, query, branches)`.
            branches: the branches in their order.
        """
        memory = self._ready_to_sample(memory, content.shape[1])
        reference = reference_unact.sigmoid()
        state = QueryState(content, position, reference, reference, reference.detach() if self.relation else None)
        count = self.num_layers if self.training else self.eval_layers or self.num_layers
        bias, logits, boxes, queries = None, [], [], []
        for i, layer in enumerate(self.layers[:count]):
            last = i == count - 1
            query = layer(state.content, self._position(i, state, memory), state.reference, memory, branches, bias,
                          **self._spatial_query(i, state))
            seen = query if self.norm is None else self.norm(query)
            delta = head.box_delta(i, seen)
            if self.training or last:
                logits.append(head.classify(i, seen, branches))
                boxes.append(self.refine(delta, state.previous).sigmoid())
                queries.append(seen)
            if last:
                break
            if self.relation is not None:
                target = boxes[-1] if self.training else self.refine(delta, state.previous).sigmoid()
                state = state._replace(relation_target=target.detach())
            state = self._step(i, state._replace(content=query), delta if seen is query else head.box_delta(i, query))
            if self.ranking is not None:
                state = state.reordered(self.ranking.order(i, seen, head, branches))
                state = state._replace(content=self.ranking.mix(i, state.content, branches))
            if self.relation is not None:
                bias = self.relation(state.relation_source, state.relation_target, branches)
                state = state._replace(relation_source=state.relation_target)
        return DecoderOutput(torch.stack(logits), torch.stack(boxes), tuple(queries))

    def _ready_to_sample(self, memory: Memory, num_queries: int) -> Memory:
        """Memory for layers that sample before they project; made here, for layers may be computed twice."""
        attentions = [layer.cross_attn for layer in self.layers
                      if isinstance(getattr(layer, 'cross_attn', None), MSDeformableAttention)]
        first = attentions and all(attention.samples_first(memory.tokens, num_queries) for attention in attentions)
        return memory.with_one() if first else memory

    def _position(self, i: int, state: QueryState, memory: Memory) -> Tensor:
        if self.position is None:
            return state.position
        return self.position(i, state.content, state.reference, memory)

    def _spatial_query(self, i: int, state: QueryState) -> dict[str, Tensor]:
        if self.spatial_query is None:
            return {}
        return dict(spatial_query=self.spatial_query(i, state.content, state.reference))

    def _step(self, i: int, state: QueryState, delta: Tensor) -> QueryState:
        """The references of the next layer; delta (B, Q, 4) from the query before the norm."""
        if not self.refine_boxes:
            return state
        refined = self.refine(delta, state.reference).sigmoid()
        reference = refined.detach()
        return state._replace(reference=reference, previous=refined if self.look_forward_twice else reference)

    def refine(self, delta: Tensor, reference: Tensor) -> Tensor:
        """delta (B, Q, 4) added to boxes (B, Q, 4), or to points (B, Q, 2), before the sigmoid."""
        unact = inverse_sigmoid(reference, self.eps)
        if unact.shape[-1] == 4:
            return delta + unact
        return torch.cat([delta[..., :2] + unact, delta[..., 2:]], -1)
