"""Where the decoder's queries come from: learned tables, or the best tokens of the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.ops.export_form import is_exporting

from .head import box_mlp, class_bias
from .init import xavier_matrices
from .memory import Memory, token_centres, token_grid
from .mlp import MLP
from .precision import at_least_fp32
from .sine import sine_of_boxes


class EncodedTokens:
    """The encoder's tokens as the heads of selections take them, made once when one asks for them.

    Args:
        memory_tokens: (B, S, C).
        valid: (B or 1, S, 1) bool; other tokens count as zero.
        anchors_unact: (B or 1, S, 4), +inf where invalid.
        project: layers between tokens and heads.
    """

    def __init__(self, memory_tokens: Tensor, valid: Tensor, anchors_unact: Tensor,
                 project: Callable[[Tensor], Tensor]):
        batch = memory_tokens.shape[0]  # not len(), which would fix it in exported files
        self._memory_tokens = memory_tokens
        self._valid = valid.to(memory_tokens.dtype).expand(batch, -1, -1)
        self._project = project
        self._all: Tensor | None = None
        self._constants: Tensor | None = None
        self.anchors_unact = anchors_unact.expand(batch, -1, -1)

    def all(self) -> Tensor:
        """(B, S, C)."""
        if self._all is None:
            self._all = self._project(self._memory_tokens * self._valid)
        return self._all

    def constants(self) -> Tensor:
        """The same without gradients."""
        if self._constants is None:
            with torch.no_grad(), _uncached_autocast(self._memory_tokens.device):
                self._constants = self._project(self._memory_tokens * self._valid)
        return self._constants

    def rows(self, index: Tensor) -> Tensor:
        """Those with these indices (B, N): (B, N, C), their gradients computed for them alone."""
        return self._project(_gather(self._memory_tokens, index) * _gather(self._valid, index))


class SelectedQueries(NamedTuple):
    """N queries, and the encoder predictions that the loss is to see with them.

    content (B, N, C); reference_unact (B, N, 4 boxes or 2 points, before the sigmoid), without gradient where chosen
    from tokens; position (B, N, C), None where the decoder makes positions from references.
    logits (B, P, num_classes) and boxes_cxcywh (B, P, 4): of the P chosen, or all, tokens; None for learned queries.
    class_agnostic: the encoder learns objects of any class, as class 0. token_index (B, N): the tokens chosen.
    """

    content: Tensor
    reference_unact: Tensor
    position: Tensor | None = None
    logits: Tensor | None = None
    boxes_cxcywh: Tensor | None = None
    class_agnostic: bool = False
    token_index: Tensor | None = None

    def split(self, num_queries: int) -> tuple[SelectedQueries, SelectedQueries]:
        """The first `num_queries` with all predictions for the loss, and the further ones.

        Learned content belongs to the first alone; the further ones' then has no rows.
        """
        def rows(which):
            return [x if x is None else x[:, which] for x in (self.content, self.reference_unact, self.position)]
        first = SelectedQueries(*rows(slice(None, num_queries)), *self[3:])
        return first, SelectedQueries(*rows(slice(num_queries, None)))

    @classmethod
    def concatenate(cls, parts: list[SelectedQueries]) -> SelectedQueries:
        """Several selections one behind the other in the query dimension."""
        def join(values):
            if not isinstance(values[0], Tensor):
                return values[0]
            return torch.cat(values, dim=1)
        return cls(*(join(values) for values in zip(*parts, strict=True)))


def anchor_boxes(memory: Memory, base_size: float = 0.05, margin: float = 0.01) -> tuple[Tensor, Tensor]:
    """One anchor box at the centre of each token.

    Args:
        memory: the feature levels.
        base_size: width and height on the first level as a share of the image, doubled from level to level.
        margin: an anchor is valid if all four numbers lie in (margin, 1 - margin) and its token is not padding.

    Returns:
        anchors before the sigmoid (B or 1, S, 4), +inf where invalid, and valid (B or 1, S, 1) bool.
    """
    centre = token_centres(memory)
    _, level = token_grid(memory.spatial_shapes, memory.tokens.device)
    size = (base_size * 2.0 ** level.to(centre.dtype))[None, :, None].expand(len(centre), -1, 2)
    anchors = torch.cat([centre, size], -1)
    valid = ((anchors > margin) & (anchors < 1 - margin)).all(-1, keepdim=True)
    if memory.padding is not None:
        valid = valid & ~memory.padding[..., None]
    return torch.where(valid, torch.log(anchors / (1 - anchors)), torch.inf), valid


@MODELS.register_module()
class TopKQuerySelection(nn.Module):
    """Take the tokens with the highest class score as queries, their boxes as references.

    Deformable DETR's two-stage form (Zhu et al. 2021, section 4.2) with the mixed selection of DINO (Zhang et al. 2023,
    section 3.4) or RT-DETR's variant (Zhao et al. 2024, section 4.3). On feature maps with fewer tokens than queries
    every token becomes one.

    Args:
        num_queries: N, number of queries.
        content: of the queries: 'memory' (the chosen tokens, without gradient; RT-DETR), 'learned' (a table indexed by
            rank; DINO, H-DETR) or 'position' (made from the chosen boxes with the position; Deformable DETR).
        content_init: how a learned table starts: 'normal' (H-DETR) or 'xavier' (DINO).
        fixed_position: make query positions from the chosen boxes once, for a decoder without positions of its own.
        class_agnostic: rank by the score of class 0, which stands for any object (Deformable DETR).
        supervise: 'selected' tokens (DINO, RT-DETR) or 'all' (Deformable DETR).
        own_projection: False to use the token projection of another selection.
        num_classes, embed_dims: given by the detector.
    """

    group_settings = {}  # in which the selections of further groups differ (see `GroupBranch`)

    def __init__(self, *, num_queries: int, num_classes: int, embed_dims: int = 256, content: str = 'memory',
                 fixed_position: bool = False, class_agnostic: bool = False, supervise: str = 'selected',
                 own_projection: bool = True, content_init: str = 'normal'):
        super().__init__()
        if content_init not in ('normal', 'xavier'):
            raise ValueError(f"query_selection.content_init={content_init!r} must be 'normal' or 'xavier'.")
        if content not in ('memory', 'learned', 'position'):
            raise ValueError(f"query_selection.content={content!r} must be 'memory', 'learned' or 'position'.")
        if supervise not in ('selected', 'all'):
            raise ValueError(f"query_selection.supervise={supervise!r} must be 'selected' or 'all'.")
        if content == 'position' and not fixed_position:
            raise ValueError("query_selection.content='position' needs fixed_position=True.")
        self.num_queries = num_queries
        self.embed_dims = embed_dims
        self.content_from = content
        self.class_agnostic = class_agnostic
        self.supervise_all = supervise == 'all'
        self.own_projection = own_projection
        self.gives_points = False
        self.output_proj = self.output_norm = None
        if own_projection:
            self.output_proj = nn.Linear(embed_dims, embed_dims)
            self.output_norm = nn.LayerNorm(embed_dims)
            nn.init.xavier_uniform_(self.output_proj.weight)
        self.class_head = nn.Linear(embed_dims, num_classes)
        self.bbox_head = box_mlp(embed_dims)
        nn.init.constant_(self.class_head.bias, class_bias())
        self.content = nn.Embedding(num_queries, embed_dims) if content == 'learned' else None
        if self.content is not None and content_init == 'xavier':
            nn.init.xavier_uniform_(self.content.weight)
        self.position_proj = self.position_norm = None
        if fixed_position:
            out_dims = 2 * embed_dims  # position and content; normed together even if the content is not used
            self.position_proj = nn.Linear(2 * embed_dims, out_dims)
            self.position_norm = nn.LayerNorm(out_dims)
            nn.init.xavier_uniform_(self.position_proj.weight)
        self._anchor_cache = {}

    def encode(self, memory: Memory) -> EncodedTokens:
        """The tokens, to be projected for the heads; invalid ones are zero before that."""
        anchors, valid = self._anchors(memory)
        return EncodedTokens(memory.tokens, valid, anchors, lambda tokens: self.output_norm(self.output_proj(tokens)))

    def forward(self, memory: Memory, encoded: EncodedTokens | None = None, num_further: int = 0) -> SelectedQueries:
        """Choose queries.

        Args:
            memory: the encoder's memory.
            encoded: the result of `encode`, of this selection or of the one whose projection it shares; None to make it
                here.
            num_further: how many of the next best tokens to return behind the N queries. Learned content has no rows
                for them: then `content` ends after N.
        """
        encoded = self.encode(memory) if encoded is None else encoded
        anchors = encoded.anchors_unact
        if self.supervise_all:
            tokens = encoded.all()
            logits, all_boxes_unact = self._class_logits(tokens), at_least_fp32(self.bbox_head(tokens)) + anchors
            index = self._best(logits, num_further)
            chosen, boxes_unact = _gather(tokens, index), _gather(all_boxes_unact, index)
            boxes = all_boxes_unact.sigmoid()
        else:
            # the heads learn from the chosen tokens alone, so that only these need gradients
            with torch.no_grad(), _uncached_autocast(memory.tokens.device):
                logits = self._class_logits(encoded.constants())
            index = self._best(logits, num_further)
            supervised = slice(None, self.num_queries)
            if torch.is_grad_enabled():
                chosen = encoded.rows(index)
                logits = self._class_logits(chosen[:, supervised])
            else:
                chosen, logits = _gather(encoded.constants(), index), _gather(logits, index[:, supervised])
            boxes_unact = at_least_fp32(self.bbox_head(chosen)) + _gather(anchors, index)
            boxes = boxes_unact[:, supervised].sigmoid()
        reference_unact = boxes_unact.detach()
        content, position = self._content_and_position(chosen, reference_unact)
        return SelectedQueries(content, reference_unact, position, logits, boxes, self.class_agnostic, index)

    def _class_logits(self, tokens: Tensor) -> Tensor:
        return at_least_fp32(self.class_head(tokens))

    def _best(self, logits: Tensor, num_further: int) -> Tensor:
        """Indices of the tokens with the highest scores, best first."""
        ranking = logits[..., 0] if self.class_agnostic else logits.amax(-1)
        return ranking.topk(min(self.num_queries + num_further, logits.shape[1]), dim=1).indices

    def position_of(self, reference_unact: Tensor) -> Tensor | None:
        """Fixed position (B, N, C) of queries with these boxes (B, N, 4); None if positions are not fixed."""
        if self.position_proj is None:
            return None
        return self._project_position(reference_unact)[..., :self.embed_dims]

    def _project_position(self, reference_unact: Tensor) -> Tensor:
        sine = sine_of_boxes(reference_unact.sigmoid(), self.embed_dims // 2, order='xywh')
        return self.position_norm(self.position_proj(sine.to(self.position_proj.weight.dtype)))

    def _content_and_position(self, chosen, reference_unact) -> tuple[Tensor, Tensor | None]:
        both = None if self.position_proj is None else self._project_position(reference_unact)
        position = None if both is None else both[..., :self.embed_dims]
        if self.content_from == 'memory':
            content = chosen.detach()
        elif self.content_from == 'learned':
            content = self.content.weight[:chosen.shape[1]].expand(chosen.shape[0], -1, -1)
        else:
            content = both[..., self.embed_dims:]
        return content, position

    def _anchors(self, memory: Memory) -> tuple[Tensor, Tensor]:
        if memory.valid_wh is not None or is_exporting():
            return anchor_boxes(memory)
        key = (memory.spatial_shapes, memory.level_wh.device)
        if key not in self._anchor_cache:
            # made outside inference mode, so that a later training step may use them
            with torch.inference_mode(False):
                self._anchor_cache[key] = anchor_boxes(memory)
        return self._anchor_cache[key]


@MODELS.register_module()
class LearnedQueries(nn.Module):
    """Queries from tables, the same for every image.

    Args:
        num_queries: N, number of queries.
        reference: 'position': a point (x, y) made from the query's learned position by linear layers (Deformable DETR,
            Conditional DETR); 'anchor': a learned box (DAB-DETR).
        point_layers: number of those layers: 1 (Deformable DETR) or more (2 in Conditional DETR).
        learned_content: False to start from zeros.
        own_projection: False to use those layers of another selection.
        num_classes, embed_dims: given by the detector.
    """

    group_settings = dict(own_projection=False)

    def __init__(self, *, num_queries: int, reference: str = 'position', point_layers: int = 1,
                 learned_content: bool = True, own_projection: bool = True, num_classes: int | None = None,
                 embed_dims: int = 256):
        super().__init__()
        if reference not in ('position', 'anchor'):
            raise ValueError(f"query_selection.reference={reference!r} must be 'position' or 'anchor'.")
        self.num_queries = num_queries
        self.own_projection = own_projection
        self.embed_dims = embed_dims
        self.content = nn.Embedding(num_queries, embed_dims) if learned_content else None
        self.position = self.reference_points = self.anchors = None
        self.gives_points = reference == 'position'
        if self.gives_points:
            self.position = nn.Embedding(num_queries, embed_dims)
            self.reference_points = _point_layers(embed_dims, point_layers) if own_projection else None
        else:
            self.anchors = nn.Embedding(num_queries, 4)

    def encode(self, memory: Memory) -> nn.Module | None:
        """Nothing is made from the memory; the layers that make points, for selections without their own."""
        return self.reference_points

    def forward(self, memory: Memory, encoded: nn.Module | None = None, num_further: int = 0) -> SelectedQueries:
        """The tables, for each image of the batch; `encoded`: the result of `encode` of the selection to share with."""
        if num_further:
            raise ValueError('learned queries have no ranking that another branch could take queries from; give '
                             'one_to_many a `selection` of its own.')
        batch = memory.tokens.shape[0]
        zeros = memory.tokens.new_zeros(self.num_queries, self.embed_dims)
        content = (zeros if self.content is None else self.content.weight).expand(batch, -1, -1)
        if self.anchors is not None:
            return SelectedQueries(content, self.anchors.weight.expand(batch, -1, -1))
        make_points = self.reference_points if self.own_projection else encoded
        reference_unact = at_least_fp32(make_points(self.position.weight))
        return SelectedQueries(content, *(x.expand(batch, -1, -1) for x in (reference_unact, self.position.weight)))

    def position_of(self, reference_unact: Tensor) -> None:
        """Learned positions belong to these queries alone; others have none."""


def _point_layers(embed_dims: int, num_layers: int) -> nn.Module:
    """Learned position (..., C) -> point before the sigmoid (..., 2)."""
    if num_layers > 1:
        layers = MLP(embed_dims, embed_dims, 2, num_layers)
        xavier_matrices(layers)
        return layers
    linear = nn.Linear(embed_dims, 2)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _gather(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def _uncached_autocast(device: torch.device) -> torch.autocast:
    """The precision of now. What is cast without gradients must not be kept for the same step's use with them."""
    enabled, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    return torch.autocast(device.type, dtype, enabled, cache_enabled=False)
