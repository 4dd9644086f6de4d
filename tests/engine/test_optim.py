"""Parameter groups by regular expression, against the official RT-DETR rule, and bfloat16 training."""

import re

import pytest
import torch
from torch import nn

from detrove.engine.optim import Bfloat16OptimWrapper, RegexOptimWrapperConstructor

OPTIMIZER = dict(type='AdamW', lr=1e-4, weight_decay=1e-4)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.conv = nn.Conv2d(3, 4, 3)
        self.backbone.norm = nn.BatchNorm2d(4)
        self.encoder = nn.Sequential()
        self.encoder.linear = nn.Linear(4, 4)
        self.encoder.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def build(model, groups):
    constructor = RegexOptimWrapperConstructor(dict(type='OptimWrapper', optimizer=OPTIMIZER), dict(groups=groups))
    return constructor(model).optimizer


def settings_by_name(model, optimizer):
    settings = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    return {name: settings[id(parameter)] for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_groups_of_rtdetr_r18():
    """The expressions of rtdetr_r18vd_6x_coco.yml give what the official code gives for them."""
    official = [
        (r'^(?=.*backbone)(?=.*norm).*$', dict(lr=1e-5, weight_decay=0.0)),
        (r'^(?=.*backbone)(?!.*norm).*$', dict(lr=1e-5)),
        (r'^(?=.*(?:encoder|decoder))(?=.*(?:norm|bias)).*$', dict(weight_decay=0.0)),
    ]
    model = Model()
    expected = {}
    for name, _ in model.named_parameters():
        matching = [override for pattern, override in official if re.findall(pattern, name)]
        assert len(matching) <= 1
        values = dict(lr=1e-4, weight_decay=1e-4, **{}) | (matching[0] if matching else {})
        expected[name] = (pytest.approx(values['lr']), pytest.approx(values['weight_decay']))
    groups = [
        dict(match=r'^backbone.*norm', lr_mult=0.1, decay_mult=0),
        dict(match=r'^backbone', lr_mult=0.1),
        dict(match=r'^(encoder|decoder).*(norm|bias)', decay_mult=0),
    ]
    optimizer = build(model, groups)
    assert settings_by_name(model, optimizer) == expected
    assert len(optimizer.param_groups) == 4
    assert len(set(expected)) == 10


def test_first_match_wins_and_frozen_parameters_are_left_out():
    model = Model()
    model.backbone.conv.requires_grad_(False)
    found = settings_by_name(model, build(model, [dict(match='norm', decay_mult=0), dict(match='^encoder', lr_mult=2)]))
    assert found['encoder.norm.weight'] == (1e-4, 0)
    assert found['encoder.linear.weight'] == (2e-4, 1e-4)
    assert found['head.weight'] == (1e-4, 1e-4)
    assert 'backbone.conv.weight' not in found


@pytest.mark.parametrize(
    ('groups', 'message'),
    [
        ([dict(match='^bckbone')], r"'\^bckbone' matches no trained parameter"),
        ([dict(match='norm'), dict(match='encoder.norm')], 'the 2 trained parameters it matches are all taken'),
        ([dict(match='(')], 'is not a regular expression'),
        ([dict(match='norm', lr=1)], '`ndim`, `lr_mult` and `decay_mult`'),
    ],
)
def test_wrong_groups(groups, message):
    with pytest.raises(ValueError, match=message):
        build(Model(), groups)


def test_multiplier_without_a_base_value():
    constructor = RegexOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=1e-4)), dict(groups=[dict(match='norm', decay_mult=0)])
    )
    with pytest.raises(ValueError, match='does not set weight_decay'):
        constructor(Model())


def test_arguments_are_left_as_they_were():
    wrapper = dict(type='OptimWrapper', optimizer=dict(OPTIMIZER))
    RegexOptimWrapperConstructor(wrapper, dict(groups=[]))(Model())
    assert wrapper == dict(type='OptimWrapper', optimizer=OPTIMIZER)


def test_bfloat16_forward_and_float32_weights():
    model = nn.Linear(4, 2)
    wrapper = Bfloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        output = model(torch.ones(1, 4))
    assert output.dtype == torch.bfloat16
    before = model.weight.clone()
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(before, model.weight)


@pytest.mark.parametrize(('given', 'fused'), [({}, True), (dict(fused=False), False), (dict(foreach=True), None)])
def test_the_fused_kernel_unless_another_is_named(given, fused):
    wrapper = RegexOptimWrapperConstructor(dict(optimizer=dict(type='AdamW', lr=1e-4, **given)))(nn.Linear(2, 2))
    assert wrapper.optimizer.defaults['fused'] is fused
