"""Focal losses through mmcv.ops: against the formula by autograd in fp64, and mmcv's published values."""

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss

# Input, mean loss and its gradient, from mmcv's tests/test_ops/test_focal_loss.py (gamma 2, alpha 0.25).
INPUTS = [
    ([[1.0, 0], [0, 1.0]], [0, 1]),
    ([[1.0, 0, -1.0], [0, 1.0, 2.0]], [2, 1]),
    ([[1e-6, 2e-6, 3e-6], [4e-6, 5e-5, 6e-4], [7e-3, 8e-2, 9e-1]], [1, 2, 0]),
]
SOFTMAX = [
    (0.00566451, [[-0.00657264, 0.00657264], [0.00657264, -0.00657264]]),
    (0.34956908, [[0.10165970, 0.03739851, -0.13905823], [0.01227554, -0.10298023, 0.09070466]]),
    (
        0.15754992,
        [
            [0.02590877, -0.05181759, 0.02590882],
            [0.02589641, 0.02589760, -0.05179400],
            [-0.07307514, 0.02234372, 0.05073142],
        ],
    ),
]
SIGMOID = [
    (0.13562961, [[-0.00657264, 0.11185755], [0.11185755, -0.00657264]]),
    (1.10251057, [[0.28808805, 0.11185755, -0.09602935], [0.11185755, -0.00657264, 0.40376765]]),
    (
        0.42287254,
        [
            [0.07457182, -0.02485716, 0.07457201],
            [0.07457211, 0.07457669, -0.02483728],
            [-0.02462499, 0.08277918, 0.18050370],
        ],
    ),
]


def sigmoid_by_formula(logits, target, gamma, alpha, weight):
    p = logits.sigmoid()
    loss = torch.empty_like(p)
    for n in range(len(p)):
        for c in range(p.shape[1]):
            if target[n] == c:
                loss[n, c] = -alpha * (1 - p[n, c]) ** gamma * p[n, c].log()
            else:
                loss[n, c] = -(1 - alpha) * p[n, c] ** gamma * (1 - p[n, c]).log()
        if weight is not None and target[n] < p.shape[1]:
            loss[n] = loss[n] * weight[target[n]]
    return loss


def softmax_by_formula(logits, target, gamma, alpha, weight):
    p = logits.softmax(1)
    losses = []
    for n, label in enumerate(target.tolist()):
        loss = logits.sum() * 0
        if label >= 0:
            loss = -alpha * (1 - p[n, label]) ** gamma * p[n, label].log()
            loss = loss if weight is None else loss * weight[label]
        losses.append(loss)
    return torch.stack(losses)


@pytest.mark.parametrize('function, published', [(sigmoid_focal_loss, SIGMOID), (softmax_focal_loss, SOFTMAX)])
def test_published_values(function, published):
    for (logits, target), (loss, grad) in zip(INPUTS, published, strict=True):
        x = torch.tensor(logits, requires_grad=True)
        out = function(x, torch.tensor(target), 2.0, 0.25, None, 'mean')
        out.backward()
        torch.testing.assert_close(out.item(), loss, rtol=0, atol=1e-6)
        torch.testing.assert_close(x.grad, torch.tensor(grad), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    'function, by_formula, background',
    [
        (sigmoid_focal_loss, sigmoid_by_formula, 4),  # one past the last class
        (softmax_focal_loss, softmax_by_formula, -1),
    ],
)
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma', [2.0, 1.5])
def test_equals_formula(function, by_formula, background, weighted, gamma, monkeypatch):
    monkeypatch.setattr('detrove.ops.mmcv_ext.focal_loss.SLICE_ELEMENTS', 8)
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(7, 4, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    target = torch.tensor([0, 1, background, 3, 2, background, 1])
    weight = torch.rand(4, generator=generator, dtype=torch.float64) if weighted else None
    loss = function(logits, target, gamma, 0.3, weight, 'none')
    expected = by_formula(logits, target, gamma, 0.3, weight)
    torch.testing.assert_close(loss, expected)
    # mmcv multiplies by the incoming gradient only where that is a scalar, as for 'sum' and 'mean'.
    (grad,) = torch.autograd.grad(function(logits, target, gamma, 0.3, weight, 'sum') * 2, logits)
    (expected_grad,) = torch.autograd.grad(expected.sum() * 2, logits)
    torch.testing.assert_close(grad, expected_grad)


def test_saturated_logits_stay_finite():
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1, 2]), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * 60 + 0.25 * 60 + 0.75 * 60, rel=1e-5)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    logits = torch.tensor([[1.0, -2.0, 0.5]]).to(dtype).requires_grad_()
    loss = sigmoid_focal_loss(logits, torch.tensor([1]), 2.0, 0.25, None, 'none')
    expected = sigmoid_by_formula(logits.detach().double(), torch.tensor([1]), 2.0, 0.25, None)
    assert loss.dtype == dtype
    torch.testing.assert_close(loss, expected.to(dtype))


@pytest.mark.parametrize('function', [sigmoid_focal_loss, softmax_focal_loss])
def test_no_rows(function):
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = function(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, 3)
