"""The published experiments have the values of the official configs (tests/data/dinat/README.md)."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

import detrove.projects  # noqa: F401  registers every module


@pytest.fixture(scope='module')
def official(request):
    return json.loads((request.config.rootpath / 'tests/data/dinat/official_configs.json').read_text())


def test_all_are_there(request, official):
    folder = request.config.rootpath / 'configs/dinat'
    assert all((folder / f'{name}.py').is_file() for name in official)


@pytest.mark.parametrize('task', ['nat-', 'dinat-', 'dinat-s-'])
def test_values(request, official, task):
    for name, expected in official.items():
        family = 'dinat-s-' if 'dinat-s-' in name else 'dinat-' if 'dinat-' in name else 'nat-'
        if family == task:
            check(Config.fromfile(request.config.rootpath / f'configs/dinat/{name}.py'), expected)


def check(config, expected):
    settings = config.model.backbone
    with torch.device('meta'):
        backbone = MODELS.build(dict(settings, init_cfg=None))
    blocks = [list(stage.blocks) for stage in backbone.stages]
    first = blocks[0][0]
    assert [len(stage) for stage in blocks] == expected['depths']
    assert list(backbone.out_channels) == [expected['embed_dim'] * 2**i for i in range(4)] == expected['in_channels']
    assert [stage[0].attn.num_heads for stage in blocks] == expected['num_heads']
    assert {block.attn.kernel_size for stage in blocks for block in stage} == {expected['kernel_size']}
    dilations = expected['dilations'] or [[1] * depth for depth in expected['depths']]
    assert [[block.attn.dilation for block in stage] for stage in blocks] == dilations
    assert first.mlp.fc1.out_features == expected['embed_dim'] * expected['mlp_ratio']
    assert (first.gamma1 is not None) == (expected['layer_scale'] is not None)
    assert settings.drop_path_rate == expected['drop_path_rate']
    assert settings.init_cfg.checkpoint == expected['pretrained']
    assert config.optim_wrapper.optimizer.lr == expected['lr']
    assert config.optim_wrapper.optimizer.weight_decay == expected['weight_decay']
    (group,) = config.optim_wrapper.paramwise_cfg.groups
    assert group.decay_mult == 0 and all(word in group.match for word in expected['no_decay'])
    channels = (config.model.neck if 'neck' in config.model else config.model.decode_head).in_channels
    assert channels == expected['in_channels']
