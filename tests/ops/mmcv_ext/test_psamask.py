"""PSAMask through mmcv.ops, against a loop over every pixel and mask place."""

import pytest
import torch
from mmcv.ops import PSAMask


def psamask_by_loops(x, kind, mask_size):
    batch, _, height, width = x.shape
    mask_h, mask_w = mask_size
    out = torch.zeros(batch, height * width, height, width, dtype=x.dtype)
    for h in range(height):
        for w in range(width):
            for i in range(mask_h):
                for j in range(mask_w):
                    y, xx = h + i - (mask_h - 1) // 2, w + j - (mask_w - 1) // 2
                    if 0 <= y < height and 0 <= xx < width:
                        if kind == 'collect':
                            out[:, y * width + xx, h, w] = x[:, i * mask_w + j, h, w]
                        else:
                            out[:, h * width + w, y, xx] = x[:, i * mask_w + j, h, w]
    return out


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('mask_size', [(3, 3), (7, 9), (9, 5), (4, 6)])
def test_equals_loops(kind, mask_size):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, mask_size[0] * mask_size[1], 4, 5, generator=generator, dtype=torch.float64)
    x.requires_grad_()
    out = PSAMask(kind, mask_size)(x)
    expected = psamask_by_loops(x, kind, mask_size)
    assert torch.equal(out, expected)
    factors = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    (grad,) = torch.autograd.grad((out * factors).sum(), x)
    (expected_grad,) = torch.autograd.grad((expected * factors).sum(), x)
    assert torch.equal(grad, expected_grad)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    x = torch.randn(1, 9, 4, 5).to(dtype).requires_grad_()
    out = PSAMask('distribute', (3, 3))(x)
    assert torch.equal(out, psamask_by_loops(x.detach(), 'distribute', (3, 3)))
    assert torch.autograd.grad(out.sum(), x)[0].dtype == dtype
