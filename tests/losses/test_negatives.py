"""The loss of unmatched logits, whose gradient is written by hand."""

import pytest
import torch
import torch.nn.functional as F

from detrove.losses.negatives import weighted_negatives


def written_out(logits, gamma, weight_learns):
    score = logits.sigmoid()
    weight = (score if weight_learns else score.detach()) ** gamma
    return (weight * F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction='none')).sum(-1)


@pytest.mark.parametrize('weight_learns', [True, False])
@pytest.mark.parametrize('gamma', [2.0, 1.5])
def test_equals_the_formula(gamma, weight_learns):
    torch.manual_seed(0)
    logits = (4 * torch.randn(3, 50, 7, dtype=torch.double)).requires_grad_()
    logits.data[0, 0] = torch.tensor([0.0, 30, -30, 60, -60, 200, -200], dtype=torch.double)
    values, expected = (function(logits, gamma, weight_learns) for function in (weighted_negatives, written_out))
    torch.testing.assert_close(values, expected, rtol=1e-13, atol=1e-13)
    weights = torch.rand(3, 50, dtype=torch.double)
    found, wanted = (torch.autograd.grad((x * weights).sum(), logits)[0] for x in (values, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_nothing_is_kept_where_nothing_learns():
    logits = torch.randn(5, 3)
    assert not weighted_negatives(logits, 2.0, True).requires_grad
