"""Parts stand for the rows that a copy of them would make."""

import pytest
import torch

from detrove.assigners import HungarianMatcher
from detrove.assigners.hungarian import MatchSet
from detrove.layers import BatchTargets
from detrove.layers.rows import as_rows, gather_rows, num_rows, rows_of_images, split_rows
from detrove.losses import DETRCriterion


@pytest.fixture
def parts():
    """Views, as they come from a split of the decoder's logits."""
    torch.manual_seed(0)
    first, second = torch.randn(3, 2, 9, 5).split([4, 5], 2)
    return [first, second, torch.randn(1, 2, 6, 5)]


def test_rows(parts):
    rows = as_rows(parts)
    assert rows.shape == (2, 3 * 4 + 3 * 5 + 6, 5) and num_rows(parts) == num_rows(rows) == 33
    assert torch.equal(rows[:, 12:17], parts[1][0])
    assert all(torch.equal(part, view) for part, view in zip(parts, split_rows(rows, parts), strict=True))
    index = torch.randint(0, 5, (2, 33, 7))
    assert torch.equal(gather_rows(parts, index), rows.gather(-1, index))
    one = slice(1, 2)
    assert torch.equal(as_rows(rows_of_images(parts, one)), rows_of_images(rows, one))


@pytest.mark.parametrize('kind', ['QueryFocalLoss', 'QueryVarifocalLoss'])
def test_matching_and_losses_of_parts_are_those_of_rows(parts, kind):
    counts = (3, 1)
    targets = BatchTargets(torch.randint(0, 5, (2, 3)), torch.rand(2, 3, 4) * 0.3 + 0.2,
                           torch.arange(3)[None] < torch.tensor(counts)[:, None], counts)
    boxes, agnostic = torch.rand(2, 33, 4) * 0.3 + 0.2, torch.arange(33) >= 27
    sets = [MatchSet(4)] * 3 + [MatchSet(5)] * 3 + [MatchSet(6)]
    criterion = DETRCriterion(loss_class=dict(type=kind))
    results = []
    for logits in (parts, as_rows(parts)):
        leaves = [x.clone().requires_grad_() for x in (logits if isinstance(logits, list) else [logits])]
        logits = leaves if isinstance(logits, list) else leaves[0]
        matched = HungarianMatcher()(logits, boxes, targets, sets, agnostic)
        losses = criterion(logits, boxes, matched, targets, agnostic)
        gradients = torch.autograd.grad((losses['loss_cls'] * torch.arange(33)).sum(), leaves)
        results.append([matched, *losses.values(), as_rows(gradients) if len(leaves) > 1 else gradients[0]])
    for of_parts, of_rows in zip(*results, strict=True):
        torch.testing.assert_close(of_parts, of_rows)
