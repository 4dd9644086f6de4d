"""Convolution blocks and their inference form."""

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn

from detrove.layers import ConvNormAct, RepVGGBlock, conv, fuse_for_inference, use_channels_last
from detrove.ops.export_form import export_form


def with_random_statistics(module):
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if name.endswith('running_var') else torch.randn_like(tensor))
    return module


@pytest.mark.parametrize('make', [
    lambda: ConvNormAct(8, 8, 3, act='relu'),
    lambda: ConvNormAct(8, 8, 1, norm_frozen=True),
    lambda: RepVGGBlock(8),
    lambda: ConvModule(8, 8, 3, norm_cfg=dict(type='BN')),
    lambda: nn.Sequential(RepVGGBlock(8), ConvNormAct(8, 8, 3, act='silu')),
], ids=['conv', 'frozen', 'repvgg', 'mmcv', 'nested'])
def test_fused_equals_trained(make):
    block = with_random_statistics(make()).eval()
    x = torch.randn(2, 8, 9, 7)
    expected = block(x)
    fused = fuse_for_inference(block)
    torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.parametrize('kernel_size, stride', [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize('on_cpu', [False, True])  # of `use_channels_last`: with other forms of convolutions
def test_frozen_norms_go_into_kernels_that_are_smaller_than_maps(monkeypatch, kernel_size, stride, on_cpu):
    block = with_random_statistics(ConvNormAct(4, 8, kernel_size, stride, act='relu', norm_frozen=True))
    use_channels_last(block, on_cpu=on_cpu)
    x = torch.randn(2, 4, 24, 20, requires_grad=True)
    assert block._is_folded(x)
    results = []
    for from_ in (0, 2**60):
        monkeypatch.setattr(conv, '_FOLDED_FROM', from_)
        out = block(x)
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, block.conv.weight])))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_who_folds_frozen_norms():
    block, x = ConvNormAct(4, 8, 1, norm_frozen=True), torch.zeros(1, 4, 5, 4)
    assert block._is_folded(x)
    assert not block._is_folded(x[:, :, :3])  # 12 pixels for 4 inputs
    assert not block._is_folded(x.double()) and not block._is_folded(x.to('meta'))
    with torch.autocast('cpu', torch.bfloat16):
        assert not block._is_folded(x)
    with export_form():
        assert not block._is_folded(x)
    handle = block.conv.register_forward_hook(lambda *_: None)  # would see nothing
    assert not block._is_folded(x)
    handle.remove()
    assert block._is_folded(x)
    block.conv = nn.Sequential(block.conv)
    assert not block._is_folded(x) and block(x).shape == (1, 8, 5, 4)


def test_fusing_twice_changes_nothing():
    block = fuse_for_inference(with_random_statistics(RepVGGBlock(8)))
    x = torch.randn(1, 8, 5, 5)
    expected = block(x)
    torch.testing.assert_close(fuse_for_inference(block)(x), expected)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'swish' is not known; choose one of"):
        ConvNormAct(8, 8, 1, act='swish')
