"""The loss of unmatched logits, whose gradient is written by hand."""

import pytest
import torch
import torch.nn.functional as F

from detrove.losses import negatives
from detrove.losses.negatives import own_and_negatives, weighted_negatives


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


@pytest.mark.parametrize('chunk', [1, 20, 10**9])
def test_own_logits_and_chunks(chunk, monkeypatch):
    """Whatever the logits are cut into; the own logits take their gradient along."""
    monkeypatch.setattr(negatives, 'CHUNK', chunk)
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 7, dtype=torch.double, requires_grad=True), torch.randint(0, 7, (3, 5))
    own, total = own_and_negatives(logits, labels, 2.0, True)
    expected = logits.gather(-1, labels[..., None])[..., 0], written_out(logits, 2.0, True)
    weights = torch.rand(2, 3, 5, dtype=torch.double)
    losses = [(weights * torch.stack(pair)).sum() for pair in ((own, total), expected)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-13, atol=1e-13)
    found, wanted = (torch.autograd.grad(loss, logits)[0] for loss in losses)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_the_backward_pass_can_be_run_again():
    """Its tensor is changed in place only where the graph goes."""
    logits = torch.randn(4, 3, requires_grad=True)
    total = weighted_negatives(logits, 2.0, True).sum() * 3
    passes = [torch.autograd.grad(total, logits, retain_graph=again)[0] for again in (True, True, False)]
    assert torch.equal(passes[0], passes[1]) and torch.equal(passes[0], passes[2])


def test_without_queries():
    logits = torch.zeros(2, 0, 5, requires_grad=True)
    own, total = own_and_negatives(logits, torch.zeros(2, 0, dtype=torch.int64), 2.0, True)
    assert own.shape == total.shape == (2, 0)
    total.sum().backward()
