"""CSWin and UPerNet beside the official code's recorded outputs (see tests/data/cswin/README.md)."""

import gzip
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.projects.cswin import CSWin


@pytest.fixture
def official(request):
    """`official(kind)`: recorded outputs, and what maps names and shapes to deterministic weights."""
    data = request.config.rootpath / 'tests/data/cswin'

    def load(kind):
        shapes = json.loads(gzip.decompress((data / f'keys_{kind}.json.gz').read_bytes()))
        return np.load(data / f'reference_{kind}.npz'), shapes

    return load


def assert_same(actual, reference, name, tolerance=1e-10):
    assert list(actual.shape) == reference[f'{name}/shape'].tolist()
    sample = actual.detach().flatten()[torch.from_numpy(reference[f'{name}/sample_index'])]
    expected = torch.from_numpy(reference[f'{name}/sample'])
    torch.testing.assert_close(sample, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())
    scale = reference[f'{name}/std'].item()
    assert abs(actual.mean().item() - reference[f'{name}/mean']) < tolerance * scale
    assert abs(actual.std(correction=0).item() - scale) < tolerance * scale


@pytest.mark.parametrize('arch', ['tiny', 'base'])
def test_segmentation_levels_and_gradient_of_image(official, arch):
    """Two wide images, and an odd size; stripes do not divide the maps of either."""
    reference, shapes = official(f'segmentation_{arch}')
    model = CSWin(arch=arch)
    model.load_state_dict(deterministic_state_dict(shapes))  # nothing missing, nothing unexpected
    model.double().eval()
    for case in ('wide', 'odd'):
        images = deterministic_images(*reference[f'{case}/images'].tolist(), seed=1).double()
        with_gradient = f'{case}/image_grad/sample' in reference
        images.requires_grad_(with_gradient)
        with torch.set_grad_enabled(with_gradient):
            maps = model(images)
        for i, level in enumerate(maps):
            assert_same(level, reference, f'{case}/level{i}')
            assert level.shape[1] == model.out_channels[i]
        if with_gradient:
            cotangents = [torch.from_numpy(np.random.RandomState(i).random_sample(level.shape) - 0.5)
                          for i, level in enumerate(maps)]
            torch.autograd.backward(maps, cotangents)
            assert_same(images.grad, reference, f'{case}/image_grad')


def test_classification_logits(official):
    reference, shapes = official('classification_tiny')
    weights = deterministic_state_dict(shapes)
    model = CSWin(arch='tiny', out_indices=(3,))
    loaded = model.load_state_dict(weights, strict=False)
    assert not loaded.missing_keys and set(loaded.unexpected_keys) == {'head.weight', 'head.bias'}
    with torch.no_grad():
        (level,) = model.double().eval()(deterministic_images(1, 224, 224, seed=2).double())
    logits = nn.functional.linear(level.mean((2, 3)), weights['head.weight'].double(), weights['head.bias'].double())
    assert_same(logits, reference, 'logits')


def test_upernet_logits(official, request):
    """The recorded model is the published one with narrow heads."""
    reference, shapes = official('upernet_tiny')
    config = Config.fromfile(
        request.config.rootpath / 'configs/cswin/cswin-tiny_upernet_8xb2-160k_ade20k-512x512.py')
    with torch.device('meta'):
        model = build_model(config)
        loaded = model.load_state_dict({name: torch.empty(shape) for name, shape in shapes.items()}, strict=False)
    assert not loaded.missing_keys and not loaded.unexpected_keys
    norm = dict(norm_cfg=dict(type='BN'))  # mmseg's SyncBN works on GPUs only
    config.merge_from_dict(dict(model=dict(
        decode_head=dict(channels=32, **norm), auxiliary_head=dict(channels=16, **norm))))
    model = build_model(config)
    narrow = {name: value.shape for name, value in model.state_dict().items()}
    heads = {name: shape for name, shape in narrow.items() if not name.startswith('backbone.')}
    backbone = {name: shape for name, shape in shapes.items() if name.startswith('backbone.')}
    loaded = model.load_state_dict(deterministic_state_dict({**backbone, **heads}), strict=False)
    assert not loaded.unexpected_keys and all('num_batches_tracked' in name for name in loaded.missing_keys)
    model.double().eval()
    with torch.no_grad():
        maps = model.extract_feat(deterministic_images(1, 96, 136, seed=3).double())
        assert_same(model.decode_head(maps), reference, 'logits')
        assert_same(model.auxiliary_head(maps), reference, 'auxiliary_logits')
