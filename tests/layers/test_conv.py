"""Convolution blocks and their inference form."""

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn

from detrove.layers import ConvNormAct, RepVGGBlock, fuse_for_inference


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


def test_fusing_twice_changes_nothing():
    block = fuse_for_inference(with_random_statistics(RepVGGBlock(8)))
    x = torch.randn(1, 8, 5, 5)
    expected = block(x)
    torch.testing.assert_close(fuse_for_inference(block)(x), expected)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'swish' is not known; choose one of"):
        ConvNormAct(8, 8, 1, act='swish')
