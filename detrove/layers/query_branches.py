"""Query branches: the sets of queries that one decoder decodes at once in training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QueryBranch:
    """A set of queries that decodes together with others but sees only part of them in self-attention.

    All branches lie one behind the other in the query dimension, the main branch first. Each branch is split into
    `num_groups` groups of equal size that do not see each other.

    Attributes:
        name: 'main', 'denoising', ...; prefix of the branch's losses.
        num_queries: queries of all its groups together.
        num_groups: number of groups; attention stays inside a group.
        sees_main: whether its queries also attend to the main branch.
    """

    name: str
    num_queries: int
    num_groups: int = 1
    sees_main: bool = False

    def __post_init__(self):
        if self.num_queries % self.num_groups:
            raise ValueError(f'branch {self.name!r} has {self.num_queries} queries, '
                             f'which {self.num_groups} groups cannot share equally.')
