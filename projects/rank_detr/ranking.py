"""Queries sorted by their class scores between decoder layers."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers import QueryBranch
from detrove.layers.init import xavier_matrices
from detrove.ops.export_form import is_exporting


@MODELS.register_module()
class QueryRanking(nn.Module):
    """The query rank layer: sort the queries after each decoder layer, and tell each its rank.

    Rank-DETR (Pu et al. 2023), rank-oriented architecture. Each set of queries that is matched by itself (main,
    one-to-many, every group) is sorted by itself; denoising queries, whose objects are known, keep their places.

    Args:
        num_queries: of the main branch.
        num_one_to_many: of the one-to-many branch, 0 without one.
        rank_layer: False only to sort, for a rank-adaptive head without query rank layer.
        num_layers, embed_dims: given by the decoder.
    """

    def __init__(self, *, num_queries: int, num_one_to_many: int = 0, rank_layer: bool = True, num_layers: int = 6,
                 embed_dims: int = 256):
        super().__init__()
        self.num_queries = num_queries
        self.embeddings = self.pre = self.post = None
        if rank_layer:
            gaps = range(num_layers - 1)
            ranks = num_queries + num_one_to_many
            self.embeddings = nn.ModuleList(nn.Embedding(ranks, embed_dims) for _ in gaps)
            self.pre = nn.ModuleList(nn.Linear(embed_dims, embed_dims) for _ in gaps)
            self.post = nn.ModuleList(nn.Linear(2 * embed_dims, embed_dims) for _ in gaps)
            # the embeddings too: the authors' zeros are overwritten when their transformer is initialised
            xavier_matrices(self)

    @torch.no_grad()
    def order(self, layer: int, query: Tensor, head: nn.Module, branches: Sequence[QueryBranch]) -> Tensor:
        """The order of falling scores.

        Args:
            layer: decoder layer that the queries come from.
            query: (B, Q, C), as the heads see it.
            head: `classify(layer, query)` gives logits in which ranks play no part.
            branches: their sizes sum to Q.

        Returns:
            (B, Q) int64, the present place of each query of the new order.
        """
        scores = head.classify(layer, query).amax(-1).split([branch.num_queries for branch in branches], dim=1)
        places, start = [], 0
        for branch, score in zip(branches, scores, strict=True):
            place = torch.arange(branch.num_queries, device=score.device).expand_as(score)
            if is_ranked(branch):
                grouped = score.unflatten(1, (branch.num_groups, -1))
                first = place.unflatten(1, (branch.num_groups, -1))[..., :1]
                place = (_descending(grouped) + first).flatten(1)
            places.append(start + place)
            start += branch.num_queries
        return torch.cat(places, dim=1)

    def mix(self, layer: int, content: Tensor, branches: Sequence[QueryBranch]) -> Tensor:
        """content (B, Q, C) in the new order, after decoder layer `layer` -> content that knows its rank."""
        if self.embeddings is None:
            return content
        rank = self.pre[layer](rows_of_ranks(self.embeddings[layer].weight, self.num_queries, branches))
        return self.post[layer](torch.cat([content, rank.to(content.dtype).expand_as(content)], dim=-1))


def _descending(scores: Tensor) -> Tensor:
    """Places along the last dimension in order of falling scores; equal ones keep their order, except in files."""
    if is_exporting():  # ONNX has no stable sort
        return scores.topk(scores.shape[-1], dim=-1).indices
    return scores.argsort(dim=-1, descending=True, stable=True)


def is_ranked(branch: QueryBranch) -> bool:
    """Whether the queries of a branch compete for its objects, so that their order means something."""
    return branch.name != 'dn'


def rows_of_ranks(table: Tensor, num_queries: int, branches: Sequence[QueryBranch]) -> Tensor:
    """The row of a table of ranks for each query.

    Args:
        table: (N, D): `num_queries` rows for the main branch, which groups, its copies, share; the rest for the
            one-to-many branch.
        num_queries: of the main branch.
        branches: their sizes sum to Q.

    Returns:
        (Q, D), zero for queries without rank.

    Raises:
        ValueError: if the table has too few rows.
    """
    rows = []
    for branch in branches:
        if not is_ranked(branch):
            rows.append(table.new_zeros(branch.num_queries, table.shape[1]))
            continue
        in_group = branch.num_queries // branch.num_groups
        name, start, end = 'num_queries', 0, num_queries
        if branch.name == 'o2m':
            name, start, end = 'num_one_to_many', num_queries, len(table)
        if in_group > end - start:
            raise ValueError(f'branch {branch.name!r} has {in_group} queries to rank, but the rank embeddings have '
                             f'{end - start} rows for it: set {name}={in_group} in decoder.ranking and bbox_head.')
        rows.append(table[start:start + in_group].repeat(branch.num_groups, 1))
    return torch.cat(rows)
