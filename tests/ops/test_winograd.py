"""Winograd's convolution against the sum that defines it."""

import pytest
import torch
import torch.nn.functional as F

from detrove.ops import winograd
from detrove.ops.layout import as_it_lies, channels_last, is_channels_last
from detrove.ops.winograd import transform_weight, winograd_conv2d

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def random(*shape, layout=torch.contiguous_format):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).contiguous(memory_format=layout)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(('chunk', 'outputs_at_once'), [
    (winograd._CHUNK, 64), (winograd._CHUNK, 1), (36 * 8 * 7, 64), (1, 64),
], ids=['whole', 'kernels in blocks', 'maps in pieces', 'one row of tiles at a time'])
@pytest.mark.parametrize(('batch', 'inputs', 'outputs', 'height', 'width'), [
    (1, 8, 8, 12, 16), (3, 5, 70, 9, 6), (2, 6, 3, 1, 1), (1, 40, 33, 7, 30), (2, 1, 4, 5, 3),
])
def test_equals_conv2d(monkeypatch, layout, chunk, outputs_at_once, batch, inputs, outputs, height, width):
    monkeypatch.setattr(winograd, '_CHUNK', chunk)
    monkeypatch.setattr(winograd, '_OUTPUTS_AT_ONCE', outputs_at_once)
    tensors = [random(batch, inputs, height, width, layout=layout), random(outputs, inputs, 3, 3, layout=layout),
               random(outputs)]
    grad = random(batch, outputs, height, width)
    ours = [tensor.clone().requires_grad_() for tensor in tensors]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    out, expected = winograd_conv2d(*ours), F.conv2d(*exact, padding=1)
    assert is_channels_last(out) == is_channels_last(expected) or 1 in (height * width, outputs)
    tolerance = dict(rtol=1e-5, atol=1e-5 * (9 * max(inputs, outputs, height * width * batch)) ** 0.5)
    torch.testing.assert_close(out.double(), expected, **tolerance)
    out.backward(grad)
    expected.backward(grad.double())
    for tensor, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(tensor.grad.double(), other.grad, **tolerance)
    with torch.no_grad():
        out = winograd_conv2d(*tensors, transformed=transform_weight(tensors[1]))
        torch.testing.assert_close(out.double(), expected, **tolerance)
        if outputs_at_once == 64:  # products of blocks are rounded in another order
            assert torch.equal(out, winograd_conv2d(*tensors))


@pytest.mark.parametrize(('count', 'limit', 'share'), [(15, 7, 5), (16, 8, 8), (3, 9, 3), (7, 1, 1), (256, 113, 86)])
def test_even_shares(count, limit, share):
    assert winograd._even_share(count, limit) == share


def test_kernels_come_in_blocks(monkeypatch):
    monkeypatch.setattr(winograd, '_OUTPUTS_AT_ONCE', 1)
    grid = winograd._Grid((1, 7, 30), (40, 33))
    assert [(block.start, block.stop) for block in grid.blocks()] == [(0, 11), (11, 22), (22, 33)]


def test_is_as_precise_as_a_sum_in_float32():
    x, weight = random(1, 256, 20, 20), random(256, 256, 3, 3) / 48
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    error, of_torch = ((out - exact).std() for out in (winograd_conv2d(x, weight), F.conv2d(x, weight, padding=1)))
    assert error < 2e-6 and error < 3 * of_torch  # 1.2e-6 and 0.8e-6


def test_computes_only_the_gradients_that_are_needed():
    x, weight = random(1, 4, 8, 8), random(4, 4, 3, 3).requires_grad_()
    (grad,) = torch.autograd.grad(winograd_conv2d(x, weight).sum(), weight)
    x.requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(winograd_conv2d(x, weight).sum(), weight)[0], grad)
    assert torch.autograd.grad(winograd_conv2d(x, weight.detach()).sum(), x)[0].shape == x.shape
    with pytest.raises(RuntimeError, match='once_differentiable'):
        (first,) = torch.autograd.grad(winograd_conv2d(x, weight).square().sum(), x, create_graph=True)
        first.sum().backward()


def test_layouts():
    maps = random(2, 3, 4, 5)
    last = channels_last(maps)
    assert is_channels_last(last) and not is_channels_last(maps) and torch.equal(last, maps)
    assert is_channels_last(as_it_lies(maps, last)) and as_it_lies(last, maps).is_contiguous()
    assert not is_channels_last(random(1, 1, 4, 5, layout=torch.channels_last))


def test_one_image_of_tokens_is_seen_as_channels_last():
    tokens = random(20, 1, 6).transpose(0, 1)  # (1, 20, 6), stride of the batch 6
    ambiguous = tokens.transpose(1, 2).reshape(1, 6, 4, 5)
    weight = random(3, 6, 1, 1)
    assert not is_channels_last(F.conv2d(ambiguous, weight))
    assert is_channels_last(F.conv2d(channels_last(ambiguous), weight))
    assert torch.equal(channels_last(ambiguous), ambiguous)
