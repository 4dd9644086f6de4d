"""Parameter groups and initial values as the official code has them, both printed by it or read in it."""

import math

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.engine.optim import RegexOptimWrapperConstructor


@pytest.fixture(scope='module')
def config(request):
    return Config.fromfile(request.config.rootpath / 'configs/relation_detr/relation-detr_r50_8xb2-12e_coco.py')


@pytest.fixture(scope='module')
def model(config):
    torch.manual_seed(0)
    model = build_model(config, {'model.backbone.init_cfg': None, 'model.bbox_head.num_classes': 91})
    model.init_weights()
    return model


def test_optimiser_groups(config, model):
    """(rate, decay) -> (tensors, values); ours have one row of labels more, for empty slots."""
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay, tuple(optimizer.betas)) == (
        'AdamW', 1e-4, 1e-4, (0.9, 0.999))
    constructor = RegexOptimWrapperConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg)
    groups = {}
    for group in constructor.parameter_groups(model):
        key = round(group.get('lr', 1e-4), 9), round(group.get('weight_decay', 1e-4), 9)
        tensors, values = groups.get(key, (0, 0))
        groups[key] = tensors + len(group['params']), values + sum(p.numel() for p in group['params'])
    assert groups == {
        (1e-4, 1e-4): (125, 24_559_104 + 256), (1e-4, 0): (181, 65_792),
        (1e-5, 1e-4): (42 + 12, 23_232_512 + 786_432), (1e-5, 0): (12, 3_072)}


def test_only_the_stem_and_the_first_stage_are_frozen(model):
    frozen = sum(p.numel() for name, p in model.named_parameters() if not p.requires_grad and '.bn' not in name
                 and 'downsample.1' not in name)
    assert frozen == 222_400


def is_xavier(weight):
    bound = math.sqrt(6 / sum(weight.shape[:2]))
    return 0.98 * bound < weight.abs().max() <= bound


def test_perceptrons_are_xavier_with_zero_bias(model):
    heads = [model.query_selection.bbox_head, model.one_to_many.selection.bbox_head, *model.bbox_head.bbox_heads]
    for head in heads:
        assert all(is_xavier(linear.weight) and not linear.bias.any() for linear in head.layers[:-1])
        assert not head.layers[-1].weight.any() and not head.layers[-1].bias.any()
    for mlp in (model.decoder.position.mlp, model.decoder.position.scale):
        assert all(is_xavier(linear.weight) and not linear.bias.any() for linear in mlp.layers)
    projection = model.query_selection.output_proj
    assert is_xavier(projection.weight) and not projection.bias.any()


def test_layers_are_xavier(model):
    for layer in (*model.encoder.layers, *model.decoder.layers):
        assert is_xavier(layer.linear1.weight) and is_xavier(layer.linear2.weight)
    for layer in model.decoder.layers:
        assert is_xavier(layer.self_attn.in_proj_weight) and is_xavier(layer.self_attn.out_proj.weight)
    assert all(is_xavier(conv.conv.weight[..., 0, 0]) for conv in model.neck.convs)


def test_tables_are_normal(model):
    tables = [model.query_selection.content.weight, model.one_to_many.selection.content.weight,
              model.denoising.label_embedding.weight[:-1], model.encoder.level_embedding]
    assert all(table.std().item() == pytest.approx(1, abs=0.05) for table in tables)


def test_torch_defaults_elsewhere(model):
    for linear in (model.decoder.relation.proj, model.encoder.fusion.linear1, model.encoder.fusion.linear2,
                   *model.bbox_head.class_heads):
        bound = 1 / math.sqrt(linear.in_features)
        assert 0.9 * bound < linear.weight.abs().max() <= bound
    for linear in (model.query_selection.class_head, model.one_to_many.selection.class_head,
                   *model.bbox_head.class_heads):
        assert torch.allclose(linear.bias, torch.tensor(-math.log(99)))
