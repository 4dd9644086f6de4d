"""Class and box heads of the decoder layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmdet.registry import MODELS
from torch import Tensor, nn

from .mlp import MLP
from .precision import at_least_fp32

if TYPE_CHECKING:
    from .query_branches import QueryBranch


def class_bias(prior_prob: float = 0.01) -> float:
    """Bias that makes a sigmoid classifier start at `prior_prob` (RetinaNet, Lin et al. 2017, section 4.1)."""
    return -math.log((1 - prior_prob) / prior_prob)


def box_mlp(embed_dims: int) -> MLP:
    """A box head whose first output is zero: boxes start at their references."""
    mlp = MLP(embed_dims, embed_dims, 4, num_layers=3)
    nn.init.zeros_(mlp.layers[-1].weight)
    nn.init.zeros_(mlp.layers[-1].bias)
    return mlp


@MODELS.register_module()
class LayerwiseHead(nn.Module):
    """A linear classifier and a box MLP after each decoder layer.

    Args:
        num_classes: number of classes; there is no background class.
        shared: the same two heads after every layer (DINO) instead of heads of its own for each (Deformable DETR).
        size_bias: where the first box head's width and height start before the sigmoid; for references that are points
            (-2 in Deformable DETR without two stages).
        num_layers: number of decoder layers.
        embed_dims: channels of the queries.
    """

    def __init__(self, *, num_classes: int, shared: bool = False, size_bias: float = 0.0, num_layers: int = 6,
                 embed_dims: int = 256):
        super().__init__()
        self.num_classes = num_classes
        self.shared = shared
        num_heads = 1 if shared else num_layers
        self.class_heads = nn.ModuleList(nn.Linear(embed_dims, num_classes) for _ in range(num_heads))
        self.bbox_heads = nn.ModuleList(box_mlp(embed_dims) for _ in range(num_heads))
        for linear in self.class_heads:
            nn.init.constant_(linear.bias, class_bias())
        nn.init.constant_(self.bbox_heads[0].layers[-1].bias[2:], size_bias)

    def classify(self, layer: int, query: Tensor, branches: Sequence[QueryBranch] | None = None) -> Tensor:
        """query (B, Q, C) after decoder layer `layer` -> logits (B, Q, num_classes), float32 at least.

        `branches` is for heads that treat branches differently.
        """
        return at_least_fp32(self.class_heads[0 if self.shared else layer](query))

    def box_delta(self, layer: int, query: Tensor) -> Tensor:
        """query (B, Q, C) after decoder layer `layer` -> change of the boxes before the sigmoid (B, Q, 4), as above."""
        return at_least_fp32(self.bbox_heads[0 if self.shared else layer](query))
