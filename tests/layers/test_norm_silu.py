"""Norms with SiLU that keep less, against the modules one after the other."""

import copy

import pytest
import torch
from torch import nn

from detrove.benchmark.memory import saved_bytes
from detrove.layers import ConvNormAct, RepVGGBlock
from detrove.layers.norm_silu import can_recompute, norm_silu


def plain(norms, maps):
    return nn.functional.silu(sum(norm(x) for norm, x in zip(norms, maps, strict=True)))


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=['first', 'last'])
@pytest.mark.parametrize(('branches', 'batch'), [(1, 2), (2, 3), (2, 1)])
def test_equals_the_modules(branches, batch, layout):
    torch.manual_seed(0)
    norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(branches)).double()
    for parameter in norms.parameters():
        nn.init.normal_(parameter)
    reference = copy.deepcopy(norms)
    maps = [(3 * torch.randn(batch, 6, 5, 7).double()).to(memory_format=layout).requires_grad_() for _ in norms]
    same = [x.detach().clone().requires_grad_() for x in maps]
    out, expected = norm_silu(*zip(norms, maps, strict=True)), plain(reference, same)
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
    plain([reference], [single]).square().sum().backward()
    assert half.grad.dtype == torch.bfloat16 and norm.weight.grad.dtype == torch.float32
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=0.05, atol=0.05)
    torch.testing.assert_close(norm.weight.grad, reference.weight.grad, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(('block', 'maps'), [(ConvNormAct(16, 16, 3, act='silu'), 2), (RepVGGBlock(16), 3)],
                         ids=['convolution', 'repvgg'])
def test_keeps_inputs_alone(block, maps):
    """The input of the block, and that of each norm."""
    x = torch.randn(2, 16, 32, 32, requires_grad=True)
    assert saved_bytes(lambda: block(x), block) == pytest.approx(maps * x.nbytes, rel=0.01)


def test_takes_the_place_of_plain_norms_in_training_alone():
    norm, silu = nn.BatchNorm2d(4), nn.SiLU()
    assert can_recompute(silu, norm, nn.BatchNorm2d(3))
    for other in (norm.eval(), nn.SyncBatchNorm(4), nn.Identity(), nn.BatchNorm2d(4, affine=False),
                  nn.BatchNorm2d(4, momentum=None), nn.BatchNorm2d(4, track_running_stats=False)):
        assert not can_recompute(silu, other)
    assert not can_recompute(nn.ReLU(), nn.BatchNorm2d(4))
