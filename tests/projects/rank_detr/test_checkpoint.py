"""Official checkpoints with other backbones and for models with fewer parts."""

import gzip
import json

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_state_dict

CONFIGS = 'configs/rank_detr'


@pytest.fixture(scope='module')
def official(pytestconfig):
    data = pytestconfig.rootpath / 'tests/data/rank_detr/keys_rank-detr_r50.json.gz'
    return deterministic_state_dict(json.loads(gzip.decompress(data.read_bytes())))


def swin_names(model):
    """The names that Swin Transformer's own code gives to the backbone of a model."""
    replace = (('stages.', 'layers.'), ('stem.', 'patch_embed.'))
    names = {}
    for name, value in model.backbone.state_dict().items():
        for ours, official in replace:
            name = name.replace(ours, official)
        names[f'backbone.{name}'] = torch.full_like(value, 0.5)
    return names


def test_swin(pytestconfig, official):
    """detectron2's Swin has the names of the original one; everything is used."""
    model = build_model(Config.fromfile(pytestconfig.rootpath / CONFIGS / 'rank-detr_swin-t_8xb2-12e_coco.py'))
    weights = {name: value for name, value in official.items() if not name.startswith('backbone.')}
    for level, channels in enumerate((192, 384, 768)):
        weights[f'neck.convs.{level}.conv.weight'] = torch.zeros(256, channels, 1, 1)
    weights['neck.extra_convs.0.conv.weight'] = torch.zeros(256, 768, 3, 3)
    model.load_state_dict({'model': {**swin_names(model), **weights}}, strict=True)
    assert (model.backbone.stages[2].blocks[3].attn.qkv.weight == 0.5).all()
    assert torch.equal(model.query_selection.class_head.weight, official['class_embed.6.weight'])


def test_without_one_to_many_branch(pytestconfig, official):
    """A model for inference alone takes the first 300 of the 1,800 content queries and leaves the rest."""
    config = Config.fromfile(pytestconfig.rootpath / CONFIGS / 'rank-detr_r50_8xb2-12e_coco.py')
    model = build_model(config, {'model.one_to_many': None, 'model.backbone.init_cfg': None})
    model.load_state_dict({'model': official}, strict=True)
    assert torch.equal(model.query_selection.content.weight, official['query_embedding.weight'][:300])
