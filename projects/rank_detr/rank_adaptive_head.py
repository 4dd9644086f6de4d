"""A classifier whose scores also depend on the rank of the query."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers import LayerwiseHead, QueryBranch

from .ranking import rows_of_ranks


@MODELS.register_module()
class RankAdaptiveHead(LayerwiseHead):
    """Adds a learned logit for each rank and class to the class logits of each decoder layer.

    Rank-DETR (Pu et al. 2023), rank-oriented architecture. Needs a decoder that ranks its queries (`decoder.ranking`).

    Args:
        num_queries: of the main branch.
        num_one_to_many: of the one-to-many branch, 0 without one.
        num_classes, shared, size_bias, num_layers, embed_dims: see `LayerwiseHead`.
    """

    def __init__(self, *, num_queries: int, num_classes: int, num_one_to_many: int = 0, shared: bool = False,
                 size_bias: float = 0.0, num_layers: int = 6, embed_dims: int = 256):
        super().__init__(num_classes=num_classes, shared=shared, size_bias=size_bias, num_layers=num_layers,
                         embed_dims=embed_dims)
        self.num_queries = num_queries
        self.rank_logits = nn.ModuleList(
            nn.Embedding(num_queries + num_one_to_many, num_classes) for _ in range(num_layers))
        for table in self.rank_logits:
            nn.init.zeros_(table.weight)

    def classify(self, layer: int, query: Tensor, branches: Sequence[QueryBranch] | None = None) -> Tensor:
        """query (B, Q, C) in the order of ranks -> logits (B, Q, num_classes); without ranks if `branches` is None."""
        logits = super().classify(layer, query)
        if branches is None:
            return logits
        return logits + rows_of_ranks(self.rank_logits[layer].weight, self.num_queries, branches).to(logits.dtype)
