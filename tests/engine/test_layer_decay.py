"""Layer-wise decay of the learning rate, against mmpretrain's rule, and together with groups."""

import pytest
import torch
from mmpretrain.engine import LearningRateDecayOptimWrapperConstructor
from mmpretrain.models import ConvNeXt
from torch import nn

from detrove.backbones import Stage, StagedBackbone
from detrove.engine.optim import RegexOptimWrapperConstructor

OPTIMIZER = dict(type='AdamW', lr=1e-3, weight_decay=0.05)


def build(model, **paramwise_cfg):
    constructor = RegexOptimWrapperConstructor(dict(optimizer=OPTIMIZER), paramwise_cfg)
    return constructor(model).optimizer


def settings_by_name(model, optimizer):
    settings = {id(x): (group['lr'], group['weight_decay'])
                for group in optimizer.param_groups for x in group['params']}
    return {name: settings[id(x)] for name, x in model.named_parameters() if x.requires_grad}


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(4, 2)

    def get_layer_depth(self, param_name, prefix=''):  # mmpretrain asks the model, not its backbone
        return self.backbone.get_layer_depth(param_name, f'{prefix}backbone.')


@pytest.fixture
def model():
    stages = [Stage([nn.LayerNorm(4)], nn.Linear(4, 4)), Stage([nn.LayerNorm(4), nn.LayerNorm(4)])]
    return Detector(StagedBackbone(nn.Conv2d(3, 4, 4, 4), stages, [4, 4], out_indices=(0, 1)))


def test_as_mmpretrain_does_it():
    convnext = ConvNeXt(arch=dict(depths=[3, 3, 12, 3], channels=[4, 4, 8, 8]), out_indices=(0, 1, 2, 3),
                        gap_before_final_norm=False)
    official = LearningRateDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(OPTIMIZER)),
        dict(layer_decay_rate=0.7, bypass_duplicate=False, norm_decay_mult=0.0, bias_decay_mult=0.0))
    model = Detector(convnext)
    expected = settings_by_name(model, official(model).optimizer)
    found = settings_by_name(model, build(model, layer_decay=dict(rate=0.7)))
    assert len({lr for lr, _ in found.values()}) == 9
    for name, (lr, _) in expected.items():
        assert found[name][0] == pytest.approx(lr), name


def test_groups_multiply(model):
    optimizer = build(model, layer_decay=dict(rate=0.5), groups=[
        dict(match=r'^backbone\..*norm0', lr_mult=0.1, decay_mult=0.0),
        dict(match=r'^backbone', ndim=1, decay_mult=0.0),
        dict(match=r'^head\.bias', lr_mult=3.0),
    ])
    found = settings_by_name(model, optimizer)
    # four layers behind the stem: one block, two blocks, what is outside
    assert found['backbone.stem.weight'] == (pytest.approx(1e-3 * 0.5**4), 0.05)
    assert found['backbone.stem.bias'] == (pytest.approx(1e-3 * 0.5**4), 0.0)
    assert found['backbone.stages.0.blocks.0.weight'] == (pytest.approx(1e-3 * 0.5**3), 0.0)
    assert found['backbone.stages.0.downsample.weight'] == (pytest.approx(1e-3 * 0.5**3), 0.05)
    assert found['backbone.stages.1.blocks.1.weight'] == (pytest.approx(1e-3 * 0.5), 0.0)
    assert found['backbone.norm0.weight'] == (pytest.approx(1e-4), 0.0)
    assert found['backbone.norm1.weight'] == (pytest.approx(1e-3), 0.0)
    assert found['head.weight'] == (pytest.approx(1e-3), 0.05)
    assert found['head.bias'] == (pytest.approx(3e-3), 0.05)


def test_equal_settings_share_a_group(model):
    model.backbone.stem.requires_grad_(False)
    optimizer = build(model, layer_decay=dict(rate=0.5), groups=[dict(match='norm', decay_mult=0.0),
                                                                 dict(match=r'\.1\.blocks', decay_mult=0.0)])
    settings = [(group['lr'], group['weight_decay']) for group in optimizer.param_groups]
    assert len(settings) == len(set(settings)) == 5
    members = [id(x) for group in optimizer.param_groups for x in group['params']]
    assert sorted(members) == sorted(id(x) for x in model.parameters() if x.requires_grad)


def test_one_dimension_only(model):
    found = settings_by_name(model, build(model, groups=[dict(match='', ndim=1, decay_mult=0.0)]))
    assert found['backbone.stages.0.downsample.weight'][1] == found['head.weight'][1] == 0.05
    assert found['backbone.stages.0.downsample.bias'][1] == found['backbone.norm0.weight'][1] == 0.0


def test_wrong_settings(model):
    with pytest.raises(ValueError, match='get_layer_depth, which Conv2d does not have'):
        build(Detector(nn.Conv2d(3, 4, 3)), layer_decay=dict(rate=0.9))
    for layer_decay in (dict(rate=1.5), dict(decay=0.9), dict(rate=0.9, depth=3)):
        with pytest.raises(ValueError, match='layer_decay is expected as'):
            build(model, layer_decay=layer_decay)


def test_training_works(model):
    optimizer = build(model, layer_decay=dict(rate=0.5))
    before = [x.detach().clone() for x in model.parameters()]
    sum(x.sum() for x in model.parameters()).backward()
    optimizer.step()
    assert not any(torch.equal(x, y) for x, y in zip(before, model.parameters(), strict=True))
