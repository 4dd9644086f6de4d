"""Multi-head self-attention over query branches, without a (Q x Q) mask."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .query_branches import QueryBranch


class BranchAttention(nn.Module):
    """Multi-head self-attention in which each query sees its own group and, if its branch says so, the main branch.

    Subclasses make queries, keys and values in `project`, once over all branches; groups fold into the batch dimension,
    so invisible pairs are never computed.

    Args:
        embed_dims: channels, divisible by num_heads.
        num_heads: number of heads.
        dropout: dropout probability of the attention weights.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims={embed_dims} must be divisible by num_heads={num_heads}.')
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.dropout = dropout
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, query: Tensor, query_pos: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """query and query_pos (B, Q, C) -> q, k and v, each (B, Q, C)."""
        raise NotImplementedError

    def forward(self, query: Tensor, query_pos: Tensor | None = None,
                branches: Sequence[QueryBranch] | None = None,
                bias: Sequence[Tensor | None] | None = None) -> Tensor:
        """Attend within branches.

        Args:
            query: (B, Q, C), all branches one behind the other, main first.
            query_pos: (B, Q, C), for queries and keys but not for values; None for none.
            branches: their sizes sum to Q; None means that all queries see each other.
            bias: for each branch None or (B * groups, heads, N, keys), added to the attention logits of the N queries
                of each group; keys are the group's own, then those of the main branch if the branch sees it.

        Returns:
            (B, Q, C).
        """
        q, k, v = self.project(query, query_pos)
        if branches is None:
            branches = [QueryBranch('main', query.shape[1])]
        q, k, v = (x.split([branch.num_queries for branch in branches], dim=1) for x in (q, k, v))
        main = (self._heads(k[0]), self._heads(v[0]))
        bias = [None] * len(branches) if bias is None else bias
        attended = [self._attend(*qkv, branch, main, added)
                    for *qkv, branch, added in zip(q, k, v, branches, bias, strict=True)]
        return self.out_proj(torch.cat(attended, dim=1) if len(attended) > 1 else attended[0])

    def _heads(self, x: Tensor, num_groups: int = 1) -> Tensor:
        """(B, groups * N, C) -> (B * groups, heads, N, C / heads)."""
        batch, num_queries, _ = x.shape
        head_dims = self.embed_dims // self.num_heads  # not -1: a branch may be empty
        return x.reshape(batch * num_groups, num_queries // num_groups, self.num_heads, head_dims).transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, branch: QueryBranch, main: tuple[Tensor, Tensor],
                bias: Tensor | None) -> Tensor:
        if branch.sees_main:
            own = (self._heads(x) for x in (q, k, v))
            out = self._forgetting_weights(self._attend_own_and_main, *own, *main, branch.num_groups, bias)
        else:
            grouped = (self._heads(x, branch.num_groups) for x in (q, k, v))
            bias = None if bias is None else bias.to(q.dtype)
            out = F.scaled_dot_product_attention(*grouped, bias, dropout_p=self.dropout if self.training else 0.0)
        return out.transpose(1, 2).reshape(q.shape)

    def _forgetting_weights(self, attend: Callable[..., Tensor], *inputs) -> Tensor:
        """The backward pass makes the weights of N x keys again, as that of `scaled_dot_product_attention` does."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():  # a compiler decides by itself
            return attend(*inputs)
        drops = self.training and self.dropout > 0
        return checkpoint(attend, *inputs, use_reentrant=False, preserve_rng_state=drops)

    def _attend_own_and_main(self, q: Tensor, k: Tensor, v: Tensor, k_main: Tensor, v_main: Tensor, num_groups: int,
                             bias: Tensor | None) -> Tensor:
        """One softmax over the keys [own group, main]; the main keys are shared by all groups, not repeated.

        q, k, v (B, heads, groups * N, D); k_main, v_main (B, heads, M, D) -> (B, heads, groups * N, D).
        """
        groups = (num_groups, q.shape[2] // num_groups)
        q = q * q.shape[-1] ** -0.5
        to_own = q.unflatten(2, groups) @ k.unflatten(2, groups).transpose(-1, -2)
        logits = torch.cat([to_own.flatten(2, 3), q @ k_main.transpose(-1, -2)], dim=-1)
        if bias is not None:
            of_image = bias.unflatten(0, (len(q), num_groups)).transpose(1, 2)
            logits = (logits.unflatten(2, groups) + of_image).flatten(2, 3)
        weights = F.dropout(logits.softmax(-1), self.dropout, self.training).to(v.dtype)
        to_own, to_main = weights.split([groups[1], k_main.shape[2]], dim=-1)
        from_own = to_own.unflatten(2, groups) @ v.unflatten(2, groups)
        return from_own.flatten(2, 3) + to_main @ v_main


class BranchSelfAttention(BranchAttention):
    """Queries and keys from content + position. Parameters are laid out as in `torch.nn.MultiheadAttention`."""

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0):
        super().__init__(embed_dims, num_heads, dropout)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims))
        nn.init.xavier_uniform_(self.in_proj_weight)

    def project(self, query: Tensor, query_pos: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        located = query if query_pos is None else query + query_pos
        weight_qk, weight_v = self.in_proj_weight.split([2 * self.embed_dims, self.embed_dims])
        bias_qk, bias_v = self.in_proj_bias.split([2 * self.embed_dims, self.embed_dims])
        q, k = F.linear(located, weight_qk, bias_qk).chunk(2, dim=-1)
        return q, k, F.linear(query, weight_v, bias_v)
