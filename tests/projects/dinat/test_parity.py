"""NAT, DiNAT, DiNAT_s and UPerNet beside the official code's recorded outputs (see tests/data/dinat/README.md)."""

import functools
import gzip
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

import detrove.projects  # noqa: F401  registers every module
from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict

BACKBONES = {
    'dinat-tiny': dict(type='DiNAT', arch='tiny', dilations='coco'),
    'nat-small': dict(type='NAT', arch='small'),
    'dinat_s-tiny': dict(type='DiNAT', arch='s_tiny', dilations='ade20k'),
}
# the classification models of the official code
CLASSIFIERS = {
    'dinat-tiny': dict(type='DiNAT', arch='tiny', dilations='224'),
    'nat-small': dict(type='NAT', arch='small'),
    'dinat_s-tiny': dict(type='DiNAT', arch='s_tiny', dilations='224'),
}


@functools.cache
def official_weights(root, name):
    """Deterministic values under the official names, with what the README says of biases and layer scales."""
    shapes = json.loads(gzip.decompress((root / f'tests/data/dinat/keys_{name}.json.gz').read_bytes()))
    weights = deterministic_state_dict(shapes)
    for key in weights:
        if key.endswith('.rpb'):
            weights[key] *= 10
        elif key.endswith(('.gamma1', '.gamma2')):
            weights[key] += 0.8
    return weights


@pytest.fixture
def case(request):
    """Name, reference and official weights."""
    name, root = request.param, request.config.rootpath
    return name, np.load(root / f'tests/data/dinat/reference_{name}.npz'), functools.partial(official_weights, root)


def assert_same(actual, reference, name, tolerance=1e-9):
    assert list(actual.shape) == reference[f'{name}/shape'].tolist()
    sample = actual.detach().flatten()[torch.from_numpy(reference[f'{name}/sample_index'])]
    expected = torch.from_numpy(reference[f'{name}/sample'])
    torch.testing.assert_close(sample, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())
    for number, statistic in ((actual.mean(), 'mean'), (actual.std(), 'std')):
        assert abs(number.item() - reference[f'{name}/{statistic}']) < tolerance


@pytest.mark.parametrize('case', BACKBONES, indirect=True)
def test_levels_and_gradient_of_image(case):
    """Maps are smaller than the windows here and there, and of odd sizes."""
    name, reference, weights = case
    model = MODELS.build(BACKBONES[name])
    model.load_state_dict(weights(name))
    model.double().eval()
    images = deterministic_images(1, *reference['size_hw'].tolist(), seed=0).double().requires_grad_()
    maps = model(images)
    loss = 0
    for i, level in enumerate(maps):
        assert_same(level, reference, f'level{i}')
        assert level.shape[1] == model.out_channels[i]
        loss = loss + (level * torch.from_numpy(np.random.RandomState(i).random_sample(level.shape) - 0.5)).sum()
    loss.backward()
    assert_same(images.grad, reference, 'image_grad')


@pytest.mark.parametrize('case', CLASSIFIERS, indirect=True)
def test_classification_logits(case):
    """The last level's mean through the official head."""
    name, reference, weights = case
    weights = weights(f'{name}_classification')
    model = MODELS.build(dict(CLASSIFIERS[name], out_indices=(3,)))
    loaded = model.load_state_dict(weights, strict=False)
    assert not loaded.missing_keys and sorted(loaded.unexpected_keys) == ['head.bias', 'head.weight']
    with torch.no_grad():
        (level,) = model.double().eval()(deterministic_images(1, 224, 224, seed=0).double())
    logits = nn.functional.linear(level.mean((2, 3)), weights['head.weight'].double(), weights['head.bias'].double())
    assert_same(logits, reference, 'logits')


@pytest.mark.parametrize('case', ['upernet_dinat-mini'], indirect=True)
def test_upernet_logits(case, request):
    """The published segmentor, its whole official state dict loaded by today's heads."""
    name, reference, weights = case
    model = build_model(Config.fromfile(
        request.config.rootpath / 'configs/dinat/dinat-mini_upernet_8xb2-160k_ade20k-512x512.py'))
    model.load_state_dict(weights(name))
    model.double().eval()
    with torch.no_grad():
        features = model.extract_feat(deterministic_images(1, *reference['size_hw'].tolist(), seed=0).double())
        for head in ('decode_head', 'auxiliary_head'):
            assert_same(getattr(model, head)(features), reference, head)
