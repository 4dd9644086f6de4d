"""Branch-wise self-attention against torch's own attention with the full mask that it avoids."""

import pytest
import torch

from detrove.layers import BranchSelfAttention, QueryBranch


def full_mask(branches):
    """(Q, Q) bool, True where a query must not look."""
    total = sum(branch.num_queries for branch in branches)
    mask = torch.ones(total, total, dtype=torch.bool)
    start = 0
    for branch in branches:
        size = branch.num_queries // branch.num_groups
        for group in range(branch.num_groups):
            rows = slice(start + group * size, start + (group + 1) * size)
            mask[rows, rows] = False
            if branch.sees_main:
                mask[rows, :branches[0].num_queries] = False
        start += branch.num_queries
    return mask


@pytest.mark.parametrize('extra', [
    [],
    [QueryBranch('dn', 12, 3, sees_main=True)],
    [QueryBranch('group', 14, 2)],
    [QueryBranch('dn', 2, 1, sees_main=True), QueryBranch('o2m', 9), QueryBranch('group', 14, 2)],
], ids=['main', 'denoising', 'group', 'all'])
def test_equals_masked_attention(extra):
    torch.manual_seed(0)
    branches = [QueryBranch('main', 7), *extra]
    total = sum(branch.num_queries for branch in branches)
    ours = BranchSelfAttention(32, 4).double()
    torch.nn.init.normal_(ours.in_proj_bias)
    reference = torch.nn.MultiheadAttention(32, 4, batch_first=True).double()
    reference.load_state_dict(ours.state_dict())
    query, pos = torch.randn(2, 3, total, 32, dtype=torch.float64)
    query_ours, query_reference = query.clone().requires_grad_(), query.clone().requires_grad_()

    out = ours(query_ours, pos, branches)
    located = query_reference + pos
    expected, _ = reference(located, located, query_reference, attn_mask=full_mask(branches), need_weights=False)
    torch.testing.assert_close(out, expected)

    seed = torch.randn_like(out)
    out.backward(seed)
    expected.backward(seed)
    torch.testing.assert_close(query_ours.grad, query_reference.grad)
    torch.testing.assert_close(ours.in_proj_weight.grad, reference.in_proj_weight.grad)


def test_main_branch_does_not_change_when_others_are_added():
    torch.manual_seed(0)
    attention = BranchSelfAttention(16, 2).eval()
    query = torch.randn(2, 11, 16)
    alone = attention(query[:, :5])
    together = attention(query, None, [QueryBranch('main', 5), QueryBranch('dn', 6, 3, sees_main=True)])
    torch.testing.assert_close(together[:, :5], alone)


def test_uneven_groups_are_refused():
    with pytest.raises(ValueError, match="'dn' has 7 queries.*2 groups"):
        QueryBranch('dn', 7, 2)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match='embed_dims=30 must be divisible by num_heads=4'):
        BranchSelfAttention(30, 4)
