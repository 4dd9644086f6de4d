"""Official checkpoints in their full size, in the models that users build."""

import gzip
import json

import pytest
import torch

from detrove.apis import build_model
from detrove.checkpoints.class_rows import COCO_CATEGORY_IDS
from detrove.projects.relation_detr.checkpoint import convert_official


@pytest.mark.parametrize(('name', 'config'), [
    ('relation-detr_r50', 'relation-detr_r50_8xb2-12e_coco.py'), ('dino++_r50', 'relation-dino_r50_8xb2-12e_coco.py')])
def test_official_state_dict_fits_the_config(request, name, config):
    """80 of 91 classes, all queries, and the class names that trained files carry."""
    root = request.config.rootpath
    model = build_model(root / 'configs/relation_detr' / config, {'model.backbone.init_cfg': None})
    shapes = json.loads(gzip.decompress((root / f'tests/data/relation_detr/keys_{name}.json.gz').read_bytes()))
    official = {key: torch.zeros(shape) for key, shape in shapes.items()}
    official['_classes_'] = torch.tensor([110, 111, 110, 101, -1])
    official['transformer.decoder.class_head.3.bias'] = torch.arange(91.0)
    official['denoising_generator.label_encoder.weight'] += 1
    model.load_state_dict({'model': official})
    assert model.bbox_head.class_heads[3].bias.tolist() == COCO_CATEGORY_IDS
    assert model.denoising.label_embedding.weight[:, 0].tolist() == [1.0] * 80 + [0.0]


@pytest.mark.parametrize('levels', [3, 4])
def test_extra_level_of_the_neck(levels):
    """The one stride-2 convolution comes behind those of the backbone's levels, however many there are."""
    official = {'denoising_generator.label_encoder.weight': torch.zeros(91, 2),
                'transformer.decoder.position_relation_embedding.pos_proj.0.weight': torch.zeros(8, 64, 1, 1)}
    for level in range(levels + 1):
        size = 3 if level == levels else 1
        official[f'neck.convs.{level}.0.weight'] = torch.zeros(2, 2, size, size)
        official[f'neck.convs.{level}.1.weight'] = torch.zeros(2)
    convert_official(official, torch.nn.Module())
    assert {key for key in official if key.startswith('neck.')} == {
        'neck.extra_convs.0.conv.weight', 'neck.extra_convs.0.gn.weight',
        *(f'neck.convs.{level}.{part}.weight' for level in range(levels) for part in ('conv', 'gn'))}
