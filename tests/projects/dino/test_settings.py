"""Parameters, optimiser groups, schedule and initial values as the official code prints or sets them."""

import functools
import math
from unittest import mock

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.engine.optim import RegexOptimWrapperConstructor
from detrove.engine.schedule import resolve_fractions

# (rate, decay) -> (tensors, values), with the official 91 classes
GROUPS = {
    'dino-4scale_r50_8xb2-12e_coco': {(1e-4, 1e-4): (273, 23_438_270), (1e-5, 1e-4): (42, 23_232_512)},
    'dino-5scale_swin-l_8xb2-12e_coco': {(1e-4, 1e-4): (277, 22_375_486), (1e-5, 1e-4): (333, 195_201_204)},
}


@pytest.mark.parametrize('name', GROUPS)
def test_same_optimiser_groups_as_official(name, request):
    config = Config.fromfile(request.config.rootpath / 'configs/dino' / f'{name}.py')
    on_cpu = functools.partial(torch.linspace, device='cpu')  # mmdet's Swin reads its drop-path rates back
    with torch.device('meta'), mock.patch('torch.linspace', on_cpu):
        model = build_model(config, {'model.bbox_head.num_classes': 91})
    constructor = RegexOptimWrapperConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg)
    groups = {}
    for group in constructor.parameter_groups(model):
        sizes = [p.numel() for p in group['params']]
        groups[round(group.get('lr', 1e-4), 9), group.get('weight_decay', 1e-4)] = len(sizes), sum(sizes)
    assert groups == GROUPS[name]


@pytest.mark.parametrize(('epochs', 'drop'), [(12, 11), (24, 20), (36, 30)])
def test_schedule(epochs, drop, request):
    config = Config.fromfile(request.config.rootpath / f'configs/dino/dino-4scale_r50_8xb2-{epochs}e_coco.py')
    assert config.train_cfg.max_epochs == epochs
    scheduler, = resolve_fractions(config.param_scheduler, epochs, epochs * 7330)
    assert scheduler['milestones'] == [drop] and scheduler['gamma'] == 0.1


@pytest.fixture(scope='module')
def model(request):
    torch.manual_seed(0)
    model = build_model(request.config.rootpath / 'configs/dino/dino-4scale_r50_8xb2-12e_coco.py',
                        {'model.backbone.init_cfg': None})
    model.init_weights()
    return model


def is_xavier(weight):
    bound = math.sqrt(6 / sum(weight.shape))
    return weight.abs().max() <= bound and weight.abs().max() > 0.98 * bound


def test_xavier_where_the_official_code_has_it(model):
    encoder, decoder = model.encoder.layers[5], model.decoder.layers[5]
    linears = [model.query_selection.output_proj, model.query_selection.content, *model.decoder.position.mlp.layers,
               encoder.self_attn.value_proj, encoder.linear1, encoder.linear2, decoder.self_attn.out_proj,
               decoder.cross_attn.value_proj, decoder.linear1, decoder.linear2]
    weights = [decoder.self_attn.in_proj_weight, model.neck.convs[0].conv.weight[..., 0, 0]]
    assert all(is_xavier(weight) for weight in (*weights, *(linear.weight for linear in linears)))
    assert not any(conv.conv.bias.any() for conv in (*model.neck.convs, *model.neck.extra_convs))


def test_other_initial_values(model):
    for linear in (model.query_selection.class_head, *model.bbox_head.class_heads):
        assert torch.allclose(linear.bias, torch.tensor(-4.59512))
    for mlp in (model.query_selection.bbox_head, *model.bbox_head.bbox_heads):
        assert not mlp.layers[-1].weight.any() and not mlp.layers[-1].bias.any()
    assert abs(model.encoder.level_embedding.std() - 1) < 0.1
    assert abs(model.denoising.label_embedding.weight[:80].std() - 1) < 0.02
    assert not model.encoder.layers[0].self_attn.sampling_offsets.weight.any()
