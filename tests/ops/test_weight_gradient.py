"""Gradients of convolution kernels against autograd."""

import pytest
import torch

from detrove.ops import weight_gradient as module
from detrove.ops.weight_gradient import weight_gradient


@pytest.mark.parametrize('chunk', [1, 700, 2**19], ids=['row by row', 'some rows', 'at once'])
@pytest.mark.parametrize(('kernel', 'stride', 'padding', 'dilation'), [
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((5, 2), (3, 1), (0, 4), (1, 2)),
    ((3, 1), (1, 2), (2, 0), (2, 3)),
    ((1, 1), (2, 2), (0, 0), (1, 1)),
])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=['first', 'last'])
def test_equals_autograd(monkeypatch, chunk, kernel, stride, padding, dilation, layout):
    monkeypatch.setattr(module, '_CHUNK', chunk)
    torch.manual_seed(0)
    x = torch.randn(3, 4, 13, 10, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(5, 4, *kernel, dtype=torch.float64, requires_grad=True)
    out = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation)
    grad = torch.randn_like(out).to(memory_format=layout)
    found = weight_gradient(grad, x, weight, stride, padding, dilation)
    torch.testing.assert_close(found, torch.autograd.grad(out, weight, grad)[0])
    assert found.is_contiguous(memory_format=torch.channels_last)
