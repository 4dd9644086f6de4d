"""CARAFE through mmcv.ops, against a loop over every tap."""

import pytest
import torch
from mmcv.ops import CARAFE, CARAFENaive, CARAFEPack


def carafe_by_loops(features, masks, kernel, groups, scale):
    batch, channels, height, width = features.shape
    out = []
    for n in range(batch):
        for c in range(channels):
            group = c // (channels // groups)
            for y in range(height * scale):
                for x in range(width * scale):
                    total = features.sum() * 0
                    for tap in range(kernel * kernel):
                        row = y // scale + tap // kernel - kernel // 2
                        column = x // scale + tap % kernel - kernel // 2
                        if 0 <= row < height and 0 <= column < width:
                            total = total + features[n, c, row, column] * masks[n, group * kernel**2 + tap, y, x]
                    out.append(total)
    return torch.stack(out).view(batch, channels, height * scale, width * scale)


def make_inputs(kernel, groups, scale, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 4, 3, 4, generator=generator, dtype=torch.float64)
    masks = torch.rand(1, groups * kernel**2, 3 * scale, 4 * scale, generator=generator, dtype=torch.float64)
    return features.to(dtype).requires_grad_(), masks.to(dtype).requires_grad_()


@pytest.mark.parametrize('kernel, groups, scale', [(3, 1, 2), (5, 2, 1), (3, 4, 3)])
def test_equals_loops(kernel, groups, scale):
    features, masks = make_inputs(kernel, groups, scale)
    out = CARAFE(kernel, groups, scale)(features, masks)
    expected = carafe_by_loops(features, masks, kernel, groups, scale)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(CARAFENaive(kernel, groups, scale)(features, masks), expected)
    factors = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    for grad, expected_grad in zip(
        torch.autograd.grad((out * factors).sum(), (features, masks)),
        torch.autograd.grad((expected * factors).sum(), (features, masks)),
        strict=True,
    ):
        torch.testing.assert_close(grad, expected_grad)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    features, masks = make_inputs(3, 1, 2, dtype)
    out = CARAFE(3, 1, 2)(features, masks)
    torch.testing.assert_close(out, CARAFE(3, 1, 2)(features.detach().float(), masks.detach().float()).to(dtype))
    assert all(g.dtype == dtype for g in torch.autograd.grad(out.sum(), (features, masks)))


def test_autocast_does_not_lower_fp32():
    features, masks = make_inputs(3, 1, 2, torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        out = CARAFE(3, 1, 2)(features, masks)
    torch.testing.assert_close(out, CARAFE(3, 1, 2)(features, masks))


def test_pack_doubles_the_size():
    assert CARAFEPack(8, 2)(torch.randn(2, 8, 5, 6)).shape == (2, 8, 10, 12)
