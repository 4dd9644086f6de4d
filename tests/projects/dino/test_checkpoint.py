"""Checkpoints of the original repository and of MMDetection: every entry finds its place."""

import functools
import gzip
import json
from unittest import mock

import pytest
import torch
from mmengine.hub import get_config

from detrove.apis import build_model
from detrove.checkpoints.class_rows import COCO_CATEGORY_IDS
from detrove.checkpoints.conversion import find_converter


def build_without_memory(config, cfg_options):
    """A model of which only names and shapes exist."""
    on_cpu = functools.partial(torch.linspace, device='cpu')  # mmdet's Swin reads its drop-path rates back
    with torch.device('meta'), mock.patch('torch.linspace', on_cpu):
        return build_model(config, cfg_options)


def shapes(state_dict):
    return {name: tuple(value.shape) for name, value in state_dict.items() if 'num_batches_tracked' not in name}


def zeros(shapes):
    """Entries that take no memory."""
    return {name: torch.zeros(()).expand(*shape) for name, shape in shapes.items()}


def assert_complete(weights, model):
    """Every entry has its place; the backbone reads names of its own."""
    names = [name for name in weights if name.startswith('backbone.')]
    backbone = {name.removeprefix('backbone.'): weights.pop(name).to('meta') for name in names}
    model.backbone.load_state_dict(backbone, strict=True)
    assert shapes(weights) == {
        name: shape for name, shape in shapes(model.state_dict()).items() if not name.startswith('backbone.')}


@pytest.mark.parametrize(('keys', 'config'), [
    ('dino-4scale_r50', 'dino-4scale_r50_8xb2-12e_coco.py'),
    ('dino-5scale_swin-l', 'dino-5scale_swin-l_8xb2-12e_coco.py'),
])
def test_every_official_entry_is_used(keys, config, request):
    root = request.config.rootpath
    model = build_without_memory(root / 'configs/dino' / config, {'model.bbox_head.num_classes': 91})
    official = json.loads(gzip.decompress((root / f'tests/data/dino/keys_{keys}.json.gz').read_bytes()))
    weights = zeros(official)
    converter = find_converter(weights)
    assert converter.name == 'DINO (IDEA-Research/DINO)'
    converter.convert(weights, model)
    assert_complete(weights, model)


@pytest.mark.parametrize('name', ['4scale{}_r50', '5scale{}_swin-l'])
def test_every_entry_of_mmdetection_is_used(name, request):
    theirs = build_without_memory(get_config(f'mmdet::dino/dino-{name.format("")}_8xb2-12e_coco.py'), {})
    model = build_without_memory(
        request.config.rootpath / f'configs/dino/dino-{name.format("-mmdet")}_8xb2-12e_coco.py', {})
    weights = zeros(shapes(theirs.state_dict()))
    converter = find_converter(weights)
    assert converter.name == 'DINO (MMDetection)'
    converter.convert(weights, model)
    assert_complete(weights, model)


@pytest.fixture(scope='module')
def model(request):
    """80 classes, one encoder and two decoder layers, heads shared between the layers."""
    config = request.config.rootpath / 'configs/dino/dino-4scale_r50_8xb2-12e_coco.py'
    return build_model(config, {'model.backbone.init_cfg': None, 'model.encoder.num_layers': 1,
                                'model.decoder.num_layers': 2, 'model.query_selection.num_queries': 30})


@pytest.fixture
def official(model, request):
    """A checkpoint in the official layout for `model`, with the 91 classes of the official code."""
    data = request.config.rootpath / 'tests/data/dino'
    names = json.loads(gzip.decompress((data / 'keys_dino-4scale_r50.json.gz').read_bytes()))
    kept = {name: shape for name, shape in names.items()
            if not any(f'encoder.layers.{i}.' in name for i in range(1, 6))
            and not any(f'{part}.{i}.' in name for part in ('decoder.layers', 'class_embed', 'bbox_embed')
                        for i in range(2, 6))}
    weights = zeros(kept)
    weights['transformer.tgt_embed.weight'] = torch.zeros(30, 256)
    return weights


def test_classes_are_those_of_coco(model, official):
    """Row i of the 80 classes is the row of the i-th category id in use; the empty slot's content is zero."""
    ids = torch.arange(92.)[:, None]
    official['label_enc.weight'] = ids.expand(92, 256)
    official['transformer.enc_out_class_embed.weight'] = official['class_embed.0.weight'] = ids[:91].expand(91, 256)
    official['class_embed.1.weight'] = official['class_embed.0.weight']
    model.load_state_dict({'model': official})
    expected = torch.tensor(COCO_CATEGORY_IDS).float()
    for weight in (model.bbox_head.class_heads[0].weight, model.query_selection.class_head.weight,
                   model.denoising.label_embedding.weight[:80]):
        assert torch.equal(weight[:, 0], expected)
    assert not model.denoising.label_embedding.weight[80].any()


def test_heads_that_differ_cannot_become_one(model, official):
    official['bbox_embed.1.layers.0.weight'] = torch.ones(256, 256)
    with pytest.raises(ValueError, match=r'bbox_head\.shared=False'):
        model.load_state_dict({'model': official})
