"""The C-level names of multi-scale deformable attention, for code that does not use mmcv's module."""

import pytest
import torch
from mmcv import _ext

from detrove.ops.ms_deform_attn import ms_deform_attn_reference


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_forward_and_backward_equal_the_reference(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[4, 5], [2, 3]])
    starts = torch.tensor([0, 20])
    value = torch.randn(2, 26, 2, 4, generator=generator).to(dtype)
    locations = torch.rand(2, 3, 2, 2, 3, 2, generator=generator).to(dtype)
    weights = torch.rand(2, 3, 2, 2, 3, generator=generator).to(dtype)
    grad_output = torch.randn(2, 3, 8, generator=generator).to(dtype)

    reference = [t.double().requires_grad_() for t in (value, locations, weights)]
    expected = ms_deform_attn_reference(reference[0], shapes, *reference[1:])
    expected.backward(grad_output.double())

    out = _ext.ms_deform_attn_forward(value, shapes, starts, locations, weights, im2col_step=64)
    grads = [torch.zeros_like(t) for t in (value, locations, weights)]
    _ext.ms_deform_attn_backward(value, shapes, starts, locations, weights, grad_output, *grads, im2col_step=64)

    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    for grad, t in zip(grads, reference, strict=True):
        torch.testing.assert_close(grad.double(), t.grad, rtol=tolerance, atol=tolerance)
