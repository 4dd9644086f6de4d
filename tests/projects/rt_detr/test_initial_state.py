"""Initial values as the official code sets them (facts read in rtdetr_decoder.py and rtdetrv2_decoder.py)."""

import math

import pytest
import torch
from torch import nn

from detrove.apis import build_model


@pytest.fixture(scope='module', params=['rtdetr_r18vd_8xb2-72e_coco', 'rtdetrv2_r18vd_8xb2-120e_coco'])
def model(request):
    torch.manual_seed(0)
    model = build_model(request.config.rootpath / 'configs/rt_detr' / f'{request.param}.py',
                        {'model.backbone.init_cfg': None})
    model.init_weights()
    model.is_v2 = 'v2' in request.param
    return model


def is_xavier(weight):
    bound = math.sqrt(6 / sum(weight.shape[:2]))
    return weight.abs().max() <= bound and weight.abs().max() > 0.98 * bound


def test_classes_start_at_one_percent_and_boxes_at_their_references(model):
    for linear in (model.query_selection.class_head, *model.bbox_head.class_heads):
        assert torch.allclose(linear.bias, torch.tensor(-4.59512))
    for mlp in (model.query_selection.bbox_head, *model.bbox_head.bbox_heads):
        assert not mlp.layers[-1].weight.any() and not mlp.layers[-1].bias.any()


def test_decoder_layers_start_equal(model):
    first, *others = [layer.state_dict() for layer in model.decoder.layers]
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


def test_xavier_where_the_official_code_has_it(model):
    layer = model.decoder.layers[0]
    weights = [model.query_selection.output_proj.weight,
               *(linear.weight for linear in model.decoder.position.mlp.layers), layer.cross_attn.value_proj.weight,
               layer.cross_attn.output_proj.weight,
               layer.self_attn.in_proj_weight]
    assert all(is_xavier(weight) for weight in weights)
    assert is_xavier(layer.linear1.weight) == model.is_v2
    assert is_xavier(model.neck[1].convs[0].conv.weight[..., 0, 0]) == model.is_v2


def test_torch_defaults_elsewhere(model):
    """Uniform within 1 / sqrt(fan_in) for convolutions, v1's input projections among them."""
    convolutions = [module for module in model.neck[0].modules() if isinstance(module, nn.Conv2d)]
    if not model.is_v2:
        convolutions += [module for module in model.neck[1].modules() if isinstance(module, nn.Conv2d)]
    for conv in convolutions:
        bound = 1 / math.sqrt(conv.weight[0].numel())
        assert 0.98 * bound < conv.weight.abs().max() <= bound * (1 + 1e-6)


def test_denoising_embedding(model):
    weight = model.denoising.label_embedding.weight
    assert weight.shape == (81, 256) and not weight[80].any()
    assert abs(weight[:80].std() - 1) < 0.02
