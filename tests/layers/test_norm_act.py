"""Norms with SiLU, or ReLU and max pool, that keep less, against the modules one after the other."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detrove.benchmark.memory import saved_bytes
from detrove.layers import ConvNormAct, RepVGGBlock
from detrove.layers.norm_act import can_recompute, norm_relu_max_pool, norm_silu


def silu(norms, maps):
    return F.silu(sum(norm(x) for norm, x in zip(norms, maps, strict=True)))


def relu_max_pool(norms, maps):
    return F.max_pool2d(F.relu(norms[0](maps[0])), 3, 2, 1)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=['first', 'last'])
@pytest.mark.parametrize(('plain', 'branches', 'batch'), [(silu, 1, 2), (silu, 2, 3), (silu, 2, 1),
                                                          (relu_max_pool, 1, 1), (relu_max_pool, 1, 3)])
def test_equals_the_modules(plain, branches, batch, layout):
    torch.manual_seed(0)
    norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(branches)).double()
    for parameter in norms.parameters():
        nn.init.normal_(parameter)
    reference = copy.deepcopy(norms)
    maps = [(3 * torch.randn(batch, 6, 5, 7).double()).to(memory_format=layout).requires_grad_() for _ in norms]
    same = [x.detach().clone().requires_grad_() for x in maps]
    pairs = [*zip(norms, maps, strict=True)]
    out = norm_silu(*pairs) if plain is silu else norm_relu_max_pool(*pairs[0], 3, 2, 1)
    expected = plain(reference, same)
    torch.testing.assert_close(out, expected)
    seed = torch.randn_like(out)
    out.backward(seed)
    expected.backward(seed)
    for ours, theirs in zip([*maps, *norms.parameters()], [*same, *reference.parameters()], strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(norms.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_half_precision():
    torch.manual_seed(0)
    norm, x = nn.BatchNorm2d(8), torch.randn(2, 8, 6, 6)
    reference = copy.deepcopy(norm)
    half, single = x.bfloat16().requires_grad_(), x.bfloat16().float().requires_grad_()
    norm_silu((norm, half)).float().square().sum().backward()
    silu([reference], [single]).square().sum().backward()
    assert half.grad.dtype == torch.bfloat16 and norm.weight.grad.dtype == torch.float32
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=0.05, atol=0.05)
    torch.testing.assert_close(norm.weight.grad, reference.weight.grad, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(('block', 'maps'), [(ConvNormAct(16, 16, 3, act='silu'), 2), (RepVGGBlock(16), 3)],
                         ids=['convolution', 'repvgg'])
def test_keeps_inputs_alone(block, maps):
    """The input of the block, and that of each norm."""
    x = torch.randn(2, 16, 32, 32, requires_grad=True)
    assert saved_bytes(lambda: block(x), block) == pytest.approx(maps * x.nbytes, rel=0.01)


def test_a_pool_behind_keeps_the_inputs_of_convolution_and_norm_alone():
    x, block = torch.randn(2, 16, 32, 32, requires_grad=True), ConvNormAct(16, 16, 3, act='relu')
    assert saved_bytes(lambda: block.max_pooled(x, 3, 2, 1), block) == pytest.approx(2 * x.nbytes, rel=0.01)
    block.eval()
    torch.testing.assert_close(block.max_pooled(x, 3, 2, 1), F.max_pool2d(block(x), 3, 2, 1), rtol=0, atol=0)


@pytest.mark.parametrize('act', ['relu', 'prelu', 'gelu', None])
def test_other_activations_stay(act):
    x, block = torch.randn(2, 8, 16, 16), ConvNormAct(8, 8, 3, act=act)
    expected = block.act(F.batch_norm(block.conv(x), None, None, block.norm.weight, block.norm.bias, training=True))
    torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(block.max_pooled(x, 3, 2, 1), F.max_pool2d(expected, 3, 2, 1))


def test_takes_the_place_of_plain_norms_in_training_alone():
    norm = nn.BatchNorm2d(4)
    assert can_recompute(norm, nn.BatchNorm2d(3))
    for other in (norm.eval(), nn.SyncBatchNorm(4), nn.Identity(), nn.BatchNorm2d(4, affine=False),
                  nn.BatchNorm2d(4, momentum=None), nn.BatchNorm2d(4, track_running_stats=False)):
        assert not can_recompute(other)
