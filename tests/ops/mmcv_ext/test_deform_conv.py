"""Deformable convolutions through mmcv.ops: against a loop over every tap, and mmcv's published values."""

import math

import pytest
import torch
from mmcv.ops import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    ModulatedDeformConv2dPack,
    deform_conv2d,
    modulated_deform_conv2d,
)


def sample(plane, y, x):
    """Bilinear with zeros outside, nothing at or beyond one pixel outside; differentiable by y and x."""
    height, width = plane.shape
    if not (-1 < y < height and -1 < x < width):
        return plane.sum() * 0
    total = plane.sum() * 0
    row, column = math.floor(y.item()), math.floor(x.item())
    for r in (row, row + 1):
        for c in (column, column + 1):
            if 0 <= r < height and 0 <= c < width:
                wy = 1 - (y - r) if r == row else 1 - (r - y)
                wx = 1 - (x - c) if c == column else 1 - (c - x)
                total = total + wy * wx * plane[r, c]
    return total


def deform_conv_by_loops(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    batch, channels, height, width = x.shape
    out_channels, group_channels, kernel_h, kernel_w = weight.shape
    out_h = (height + 2 * padding - dilation * (kernel_h - 1) - 1) // stride + 1
    out_w = (width + 2 * padding - dilation * (kernel_w - 1) - 1) // stride + 1
    taps = kernel_h * kernel_w
    rows = []
    for b in range(batch):
        for o in range(out_channels):
            first = o // (out_channels // groups) * group_channels
            for i in range(out_h):
                for j in range(out_w):
                    total = bias[o] if bias is not None else x.sum() * 0
                    for c in range(group_channels):
                        group = (first + c) // (channels // deform_groups)
                        for k in range(taps):
                            index = group * taps + k
                            y = i * stride - padding + k // kernel_w * dilation + offset[b, 2 * index, i, j]
                            xx = j * stride - padding + k % kernel_w * dilation + offset[b, 2 * index + 1, i, j]
                            value = sample(x[b, first + c], y, xx)
                            if mask is not None:
                                value = value * mask[b, index, i, j]
                            total = total + value * weight[o, c, k // kernel_w, k % kernel_w]
                    rows.append(total)
    return torch.stack(rows).view(batch, out_channels, out_h, out_w)


def make_inputs(stride, padding, dilation, groups, deform_groups, modulated):
    generator = torch.Generator().manual_seed(0)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, weight = randn(2, 4, 4, 5), randn(2, 4 // groups, 2, 2)
    out_h = (4 + 2 * padding - dilation - 1) // stride + 1
    out_w = (5 + 2 * padding - dilation - 1) // stride + 1
    offset = randn(2, deform_groups * 8, out_h, out_w)
    mask = randn(2, deform_groups * 4, out_h, out_w) if modulated else None
    return x, offset, mask, weight, randn(2) if modulated else None


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize(
    'stride, padding, dilation, groups, deform_groups',
    [(1, 1, 1, 1, 1), (2, 1, 2, 2, 1), (1, 0, 1, 1, 2), (2, 2, 1, 2, 2)],
)
def test_equals_loops_over_every_tap(modulated, stride, padding, dilation, groups, deform_groups):
    geometry = (stride, padding, dilation, groups, deform_groups)
    x, offset, mask, weight, bias = make_inputs(*geometry, modulated)
    if modulated:
        out = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
    else:
        out = deform_conv2d(x, offset, weight, *geometry)
    expected = deform_conv_by_loops(x, offset, mask, weight, bias, *geometry)
    torch.testing.assert_close(out, expected)
    factors = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    inputs = [t for t in (x, offset, mask, weight, bias) if t is not None]
    for grad, expected_grad in zip(
        torch.autograd.grad((out * factors).sum(), inputs),
        torch.autograd.grad((expected * factors).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(grad, expected_grad)


def test_v1_published_values():
    # mmcv's tests/test_ops/test_deform_conv.py: a 2 x 2 kernel with a learned offset, batch of ten equal
    # images.
    module = DeformConv2dPack(1, 1, 2, stride=1, padding=0, im2col_step=2)
    offset_weight = [
        [0.1, 0.4, 0.6, 0.1],
        [0.3, 0.2, 0.1, 0.3],
        [0.5, 0.5, 0.2, 0.8],
        [0.8, 0.3, 0.9, 0.1],
        [0.3, 0.1, 0.2, 0.5],
        [0.3, 0.7, 0.5, 0.3],
        [0.6, 0.2, 0.5, 0.3],
        [0.4, 0.1, 0.8, 0.4],
    ]
    offset_bias = [0.7, 0.1, 0.8, 0.5, 0.6, 0.5, 0.4, 0.7]
    module.conv_offset.weight.data = torch.tensor(offset_weight).view(8, 1, 2, 2)
    module.conv_offset.bias.data = torch.tensor(offset_bias)
    module.weight.data = torch.tensor([0.4, 0.2, 0.1, 0.9]).view(1, 1, 2, 2)
    x = torch.tensor([[[[1.0, 2, 3], [0, 1, 2], [3, 5, 2]]]]).repeat(10, 1, 1, 1).requires_grad_()

    out = module(x)
    out.sum().backward()

    def close(actual, expected):
        torch.testing.assert_close(actual, torch.tensor(expected).view_as(actual), rtol=0, atol=1e-3)

    close(out[0], [1.650, 0, 0, 0])
    close(x.grad[3], [-0.666, 0.204, 0, 0.030, -0.416, 0.012, 0, 0.252, 0.129])
    close(module.weight.grad / 10, [3.62, 0, 0.40, 0.18])
    close(module.conv_offset.bias.grad / 10, [1.44, -0.72, 0, 0, -0.10, -0.08, -0.54, -0.54])
    close(module.conv_offset.weight.grad[:2] / 10, [1.44, 2.88, 0, 1.44, -0.72, -1.44, 0, -0.72])
    close(module.conv_offset.weight.grad[6] / 10, [-0.54, -1.08, 0, -0.54])


def test_v2_published_values():
    # mmcv's tests/test_ops/test_modulated_deform_conv.py: offsets are zero and taps lie exactly on the border
    # of the padding, where the offset gradient differs from torchvision's.
    module = ModulatedDeformConv2dPack(1, 1, kernel_size=(2, 2), stride=1, padding=1, deform_groups=1, bias=False)
    module.weight.data.fill_(1.0)
    x = torch.tensor([[[[1.0, 2, 3]] * 3]], requires_grad=True)
    out = module(x)
    out.sum().backward()
    expected = [[0.5, 1.5, 2.5, 1.5], [1.0, 3.0, 5.0, 3.0], [1.0, 3.0, 5.0, 3.0], [0.5, 1.5, 2.5, 1.5]]
    torch.testing.assert_close(out[0, 0], torch.tensor(expected))
    torch.testing.assert_close(x.grad, torch.full_like(x, 2.0))
    torch.testing.assert_close(module.weight.grad, torch.full_like(module.weight, 9.0))
    torch.testing.assert_close(
        module.conv_offset.bias.grad, torch.tensor([-3.0, -1.5, -3, -1.5, -3, -1.5, -3, -1.5, 4.5, 4.5, 4.5, 4.5])
    )
    offset_grads = module.conv_offset.weight.grad.flatten(1)
    torch.testing.assert_close(offset_grads[0], torch.tensor([-7.0, -4, 0, 0]))
    torch.testing.assert_close(offset_grads[1], torch.tensor([-9.0, 7.5, -6, 5]))
    torch.testing.assert_close(offset_grads[11], torch.tensor([4.0, 7, 6, 10.5]))


@pytest.mark.parametrize('modulated', [False, True])
def test_zero_offsets_are_a_plain_convolution(modulated):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 7)
    offset = torch.zeros(2, 18, 3, 4)
    kwargs = dict(kernel_size=3, stride=2, padding=1, bias=False)
    module = ModulatedDeformConv2d(4, 6, **kwargs) if modulated else DeformConv2d(4, 6, **kwargs)
    out = module(x, offset, torch.ones(2, 9, 3, 4)) if modulated else module(x, offset)
    torch.testing.assert_close(out, torch.nn.functional.conv2d(x, module.weight, stride=2, padding=1))


def test_offset_map_of_a_finer_level_is_read_from_its_start():
    """DyHead's v2: mmcv reads the first values in memory, image by image; published weights rely on it."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    weight = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    offset = torch.randn(2, 18, 8, 10, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 9, 8, 10, dtype=torch.float64, requires_grad=True)
    small_offset = offset.detach().flatten(1)[:, : 18 * 20].view(2, 18, 4, 5).requires_grad_()
    small_mask = mask.detach().flatten(1)[:, : 9 * 20].view(2, 9, 4, 5).requires_grad_()
    out = modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)
    expected = modulated_deform_conv2d(x, small_offset, small_mask, weight, None, 1, 1)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    for big, small in ((offset, small_offset), (mask, small_mask)):
        read = small.grad[0].numel()
        assert torch.equal(big.grad.flatten(1)[:, :read], small.grad.flatten(1))
        assert not big.grad.flatten(1)[:, read:].any()


def test_offset_map_that_is_too_small():
    with pytest.raises(ValueError, match='smaller than the output needs'):
        modulated_deform_conv2d(
            torch.zeros(1, 3, 4, 5),
            torch.zeros(1, 18, 2, 2),
            torch.zeros(1, 9, 2, 2),
            torch.zeros(2, 3, 3, 3),
            None,
            1,
            1,
        )


def test_v1_weight_gradient_alone_and_twice():
    """The weight gradient normally comes with that of the input; it must not go stale when it does not."""
    x, offset, _, weight, _ = make_inputs(1, 1, 1, 1, 1, modulated=False)
    both = torch.autograd.grad(deform_conv2d(x, offset, weight, 1, 1).square().sum(), [x, weight])
    alone = torch.autograd.grad(deform_conv2d(x.detach(), offset.detach(), weight, 1, 1).square().sum(), weight)
    torch.testing.assert_close(both[1], alone[0])
    out = deform_conv2d(x, offset, weight, 1, 1)
    torch.autograd.grad(out.sum(), x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), weight)[0], alone[0])


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(modulated, dtype):
    torch.manual_seed(0)
    x, offset, weight = torch.randn(1, 4, 5, 5), torch.randn(1, 18, 5, 5), torch.randn(2, 4, 3, 3)
    mask = torch.rand(1, 9, 5, 5)
    inputs = [t.to(dtype).requires_grad_() for t in (x, offset, weight)]

    def run(x, offset, weight, mask):
        if modulated:
            return modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)
        return deform_conv2d(x, offset, weight, 1, 1)

    out = run(*inputs, mask.to(dtype))
    torch.testing.assert_close(out, run(*[t.detach().float() for t in inputs], mask.to(dtype).float()).to(dtype))
    assert all(g.dtype == dtype for g in torch.autograd.grad(out.sum(), inputs))


def test_bf16_autocast_of_the_whole_module():
    module = ModulatedDeformConv2dPack(4, 6, 3, padding=1)
    with torch.autocast('cpu', torch.bfloat16):
        out = module(torch.randn(2, 4, 5, 5))
    out.float().sum().backward()
    assert module.weight.grad.dtype == torch.float32
