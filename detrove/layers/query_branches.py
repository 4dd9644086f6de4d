"""Query branches: the sets of queries that one decoder decodes at once in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mmdet.registry import MODELS
from torch import Tensor, nn

from .memory import Memory
from .query_selection import EncodedTokens, SelectedQueries


@dataclass(frozen=True)
class QueryBranch:
    """A set of queries that decodes together with others but sees only part of them in self-attention.

    All branches lie one behind the other in the query dimension, the main branch first. Each branch is split into
    `num_groups` groups of equal size that do not see each other.

    Attributes:
        name: 'main', 'dn', 'o2m', 'group'; prefix of the branch's losses.
        num_queries: queries of all its groups together.
        num_groups: number of groups; attention stays inside a group.
        sees_main: whether its queries also attend to the main branch.
        joins_main: whether all its queries and the main ones attend to each other; it then lies next to the main one.
        targets_per_object: queries that each object is matched to.
        loss_weight: factor of the branch's losses.
    """

    name: str
    num_queries: int
    num_groups: int = 1
    sees_main: bool = False
    joins_main: bool = False
    targets_per_object: int = 1
    loss_weight: float = 1.0

    def __post_init__(self):
        if self.num_queries % self.num_groups:
            raise ValueError(f'branch {self.name!r} has {self.num_queries} queries, '
                             f'which {self.num_groups} groups cannot share equally.')


def sets_in_attention(branches: Sequence[QueryBranch]) -> list[QueryBranch]:
    """The branches as self-attention tells them apart: one that joins the main branch is part of it."""
    main, *others = branches
    while others and others[0].joins_main:
        main = replace(main, num_queries=main.num_queries + others.pop(0).num_queries)
    return [main, *others]


class BranchQueries(NamedTuple):
    """The queries of one branch as they enter the decoder.

    branch: what the decoder and the losses do with them.
    content (B, N, C); reference_unact (B, N, 4 or 2), boxes or points before the sigmoid; position (B, N, C) where the
    decoder takes positions from the queries, else None.
    matched_gt (B, N): the object of each query, -1 for none; None for queries that are to be matched.
    proposals: the selection that they came from, whose encoder predictions, if it has any, are supervised with them;
    None if they are supervised with another branch.
    """

    branch: QueryBranch
    content: Tensor
    reference_unact: Tensor
    position: Tensor | None = None
    matched_gt: Tensor | None = None
    proposals: SelectedQueries | None = None


@MODELS.register_module()
class OneToManyBranch(nn.Module):
    """Further queries, in training only, among which each object is matched several times.

    H-DETR (Jia et al. 2023), section 3.2: the queries follow the main ones in the encoder's ranking. Relation-DETR (Hou
    et al. 2024), section 4.3, ranks the tokens anew with heads of its own: give a `selection` for that.

    Args:
        num_queries: number of queries.
        targets_per_object: k, queries matched to each object.
        loss_weight: lambda, factor of the branch's losses.
        content: 'learned' (a table, as in both papers) or 'memory' (the chosen tokens).
        selection: config of a query selection with its own heads; None to take the next queries of the main one.
            `content` is then the selection's own.
        num_classes, embed_dims: given by the detector.
    """

    def __init__(self, *, num_queries: int, targets_per_object: int = 6, loss_weight: float = 1.0,
                 content: str = 'learned', selection: dict | None = None, num_classes: int, embed_dims: int = 256):
        super().__init__()
        if content not in ('learned', 'memory'):
            raise ValueError(f"one_to_many.content={content!r} must be 'learned' or 'memory'.")
        self.num_queries = num_queries
        self.targets_per_object = targets_per_object
        self.loss_weight = loss_weight
        self.content = self.selection = None
        if selection is not None:
            self.selection = MODELS.build(selection, default_args=dict(
                num_queries=num_queries, num_classes=num_classes, embed_dims=embed_dims))
        elif content == 'learned':
            self.content = nn.Embedding(num_queries, embed_dims)

    @property
    def num_ranked(self) -> int:
        """Queries that the branch takes from the main selection."""
        return self.num_queries if self.selection is None else 0

    def forward(self, memory: Memory, encoded: EncodedTokens, ranked: SelectedQueries | None) -> BranchQueries:
        """Queries of one batch.

        Args:
            memory: the encoder's memory.
            encoded: what the main selection made of it, for a selection that shares that part.
            ranked: the main selection's next `num_ranked` queries, None for a branch that selects by itself.
        """
        proposals = None  # supervised with the main branch's
        if self.selection is not None:
            ranked = proposals = self.selection(memory, None if self.selection.own_projection else encoded)
        content, num_queries = ranked.content, ranked.reference_unact.shape[1]
        if self.content is not None:
            content = self.content.weight[:num_queries].expand(len(ranked.reference_unact), -1, -1)
        if content.shape[1] != num_queries:
            raise ValueError("one_to_many.content='memory' needs query_selection.content='memory' or 'position'; set "
                             "it to 'learned', or give one_to_many a `selection` of its own.")
        branch = QueryBranch('o2m', num_queries, targets_per_object=self.targets_per_object,
                             loss_weight=self.loss_weight)
        return BranchQueries(branch, content, ranked.reference_unact, ranked.position, proposals=proposals)


@MODELS.register_module()
class GroupBranch(nn.Module):
    """Further copies of the main branch, in training only, each matched by itself.

    Group DETR (Chen et al. 2023), section 3.2. Each group has its own query selection, so that learned queries are K
    tables and two-stage queries K encoder heads (as in the Group DINO of PaddleDetection); the decoder and its heads
    are shared, and so is what makes points of learned positions.

    Args:
        num_groups: K, groups in training including the main branch, at least 2.
        separate: groups do not see each other. False, in the paper's table 7, lets all queries attend to all.
        selection: config of the main query selection, given by the detector.
        num_classes, embed_dims: given by the detector.
    """

    def __init__(self, *, num_groups: int = 11, separate: bool = True, selection: dict, num_classes: int,
                 embed_dims: int = 256):
        super().__init__()
        if num_groups < 2:
            raise ValueError(f'groups.num_groups={num_groups} counts the main branch and must be at least 2; '
                             f'set groups=None for a single group.')
        self.num_groups = num_groups
        self.separate = separate
        defaults = dict(num_classes=num_classes, embed_dims=embed_dims, **MODELS.get(selection['type']).group_settings)
        self.selections = nn.ModuleList(MODELS.build(selection, default_args=defaults) for _ in range(num_groups - 1))

    def forward(self, memory: Memory, encoded: EncodedTokens | nn.Module | None = None) -> BranchQueries:
        """Queries of one batch, group after group; `encoded` as the main selection's `encode` gives it."""
        chosen = [selection(memory, None if selection.own_projection else encoded) for selection in self.selections]
        merged = SelectedQueries.concatenate(chosen)
        branch = QueryBranch('group', merged.reference_unact.shape[1], self.num_groups - 1,
                             joins_main=not self.separate)
        return BranchQueries(branch, merged.content, merged.reference_unact, merged.position, proposals=merged)
