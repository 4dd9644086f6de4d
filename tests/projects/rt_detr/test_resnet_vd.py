"""The contract of a backbone: channels, strides, freezing, official weights."""

import gzip
import json

import pytest
import torch
from mmdet.registry import MODELS

from detrove.checkpoints.deterministic import deterministic_state_dict
from detrove.projects.rt_detr import ResNetVD


@pytest.mark.parametrize(('depth', 'channels'), [(18, [64, 128, 256, 512]), (34, [64, 128, 256, 512]),
                                                 (50, [256, 512, 1024, 2048]), (101, [256, 512, 1024, 2048])])
def test_declared_channels_and_strides(depth, channels):
    backbone = MODELS.build(dict(type='ResNetVD', depth=depth, out_indices=(0, 1, 2, 3))).eval()
    assert backbone.out_channels == channels
    with torch.no_grad():
        outs = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(out.shape) for out in outs] == [
        (1, c, 64 // stride, 96 // stride) for c, stride in zip(channels, (4, 8, 16, 32), strict=True)]


@pytest.mark.parametrize('size_hw', [(33, 47), (65, 32)])
def test_odd_sizes(size_hw):
    with torch.no_grad():
        outs = ResNetVD(depth=18).eval()(torch.randn(1, 3, *size_hw))
    assert [tuple(out.shape[-2:]) for out in outs] == [
        tuple(-(-side // stride) for side in size_hw) for stride in (8, 16, 32)]


@pytest.mark.parametrize('norm_frozen', [False, True])
def test_every_trained_parameter_learns(norm_frozen):
    backbone = ResNetVD(depth=50, norm_frozen=norm_frozen, base_channels=16)
    sum(out.mean() for out in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert not [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert any('norm' in name for name, _ in backbone.named_parameters()) != norm_frozen


@pytest.mark.parametrize(('frozen_stages', 'frozen'), [
    (-1, set()), (0, {'stem'}), (2, {'stem', 'stages.0', 'stages.1'})])
def test_frozen_stages_neither_learn_nor_drift(frozen_stages, frozen):
    backbone = ResNetVD(depth=18, frozen_stages=frozen_stages, base_channels=16).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    sum(out.mean() for out in backbone(torch.randn(2, 3, 64, 64))).backward()
    for name, parameter in backbone.named_parameters():
        is_frozen = any(name.startswith(prefix + '.') for prefix in frozen)
        assert parameter.requires_grad != is_frozen and (parameter.grad is None) == is_frozen
    for name, value in backbone.state_dict().items():
        if name.endswith('running_mean'):
            drifted = not torch.equal(value, before[name])
            assert drifted != any(name.startswith(prefix + '.') for prefix in frozen), name


@pytest.mark.parametrize(('model', 'settings'), [('v1_r18vd', dict(depth=18)),
                                                 ('v1_r50vd', dict(depth=50, norm_frozen=True))])
def test_official_weights_through_init_cfg(request, tmp_path, model, settings):
    """A plain state dict of the official backbone file, as `init_cfg=dict(type='Pretrained', ...)` gets it."""
    keys = gzip.decompress((request.config.rootpath / f'tests/data/rt_detr/keys_{model}.json.gz').read_bytes())
    shapes = {name.removeprefix('backbone.'): shape for name, shape in json.loads(keys).items()
              if name.startswith('backbone.')}
    official = deterministic_state_dict(shapes)
    torch.save(official, tmp_path / 'official.pth')
    backbone = ResNetVD(**settings, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'official.pth')))
    backbone.init_weights()
    ours = {name: value for name, value in backbone.state_dict().items() if not name.endswith('num_batches_tracked')}
    assert sum(value.double().sum() for value in ours.values()) == pytest.approx(
        float(sum(value.double().sum() for value in official.values())), rel=1e-9)
    assert torch.equal(ours['stages.1.0.shortcut.conv.weight'],
                       official['res_layers.1.blocks.0.short.conv.conv.weight'])
    assert torch.equal(ours['stages.0.0.shortcut.conv.weight'], official['res_layers.0.blocks.0.short.conv.weight'])


@pytest.mark.parametrize(('settings', 'message'), [(dict(depth=20), 'has no depth 20; choose one of'),
                                                   (dict(depth=18, out_indices=(1, 4)), 'numbers from 0 to 3')])
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ResNetVD(**settings)


def test_in_a_stock_detector():
    """Any mmdet detector can use it."""
    from mmengine.registry import DefaultScope
    with DefaultScope.overwrite_default_scope('mmdet'):
        neck = MODELS.build(dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=32, num_outs=5))
        backbone = MODELS.build(dict(type='ResNetVD', depth=18, out_indices=(0, 1, 2, 3)))
    assert len(neck(backbone(torch.randn(1, 3, 64, 64)))) == 5
