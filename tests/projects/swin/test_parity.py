"""Swin against recorded outputs of its official detection and classification codes, in double precision."""

import gzip
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.projects.swin import Swin
from detrove.projects.swin.checkpoint import resize_bias_table


def official_weights(root, name):
    shapes = json.loads(gzip.decompress((root / f'tests/data/swin/keys_{name}.json.gz').read_bytes()))
    learned = {key: shape for key, shape in shapes.items() if not key.endswith(('index', 'attn_mask'))}
    computed = {key: torch.zeros(shape) for key, shape in shapes.items() if key not in learned}
    return {**deterministic_state_dict(learned), **computed}


def assert_sampled(found, reference, name, **tolerance):
    assert list(found.shape) == reference[f'{name}/shape'].tolist()
    sample = found.detach().flatten()[torch.from_numpy(reference[f'{name}/index'])]
    torch.testing.assert_close(sample, torch.from_numpy(reference[f'{name}/sample']), **tolerance)
    np.testing.assert_allclose(found.detach().std(), reference[f'{name}/std'], rtol=1e-8)


@pytest.mark.parametrize(('name', 'settings'), [
    ('swin-tiny', dict(arch='tiny')),
    ('swin-base-window12', dict(arch='base', window_size=12)),
], ids=['tiny', 'base'])
def test_feature_maps_and_gradient(name, settings, request):
    """Sides that are no multiples of 4, maps of odd sides, the last one smaller than a window."""
    root = request.config.rootpath
    reference = np.load(root / f'tests/data/swin/reference_{name}.npz')
    model = Swin(**settings, drop_path_rate=0.0).double().eval()
    model.load_state_dict(official_weights(root, name), strict=True)
    images = deterministic_images(*reference['image_size'], seed=0).double()
    with torch.no_grad():
        maps = model(images)  # fused attention, which takes other steps than training
    for i, feature in enumerate(maps):
        assert_sampled(feature, reference, f'level{i}', rtol=1e-9, atol=1e-9)
    images.requires_grad_()
    loss = sum(feature.square().mean() for feature in model(images))
    loss.backward()
    np.testing.assert_allclose(loss.item(), reference['loss'], rtol=1e-10)
    scale = float(reference['grad/std'])
    assert_sampled(images.grad, reference, 'grad', rtol=1e-7, atol=1e-7 * scale)


def test_classification(request):
    """The classification code does not shift the last stage's map of 7 x 7, and the published weights know it so."""
    root = request.config.rootpath
    weights = official_weights(root, 'swin-tiny-224')
    head = [weights.pop(f'head.{name}').double() for name in ('weight', 'bias')]
    for name in ('weight', 'bias'):
        weights[f'norm3.{name}'] = weights.pop(f'norm.{name}')
    images = deterministic_images(2, 224, 224, seed=1)[:1].double()
    expected = torch.from_numpy(np.load(root / 'tests/data/swin/reference_swin-tiny-224.npz')['logits'])[:1]
    logits = {}
    for shift in (False, True):
        model = Swin(arch='tiny', shift_small_maps=shift, out_indices=(3,)).double().eval()
        model.load_state_dict(weights, strict=True)
        with torch.no_grad():
            (feature,) = model(images)
        logits[shift] = F.linear(feature.mean((2, 3)), *head)
    torch.testing.assert_close(logits[False], expected, rtol=1e-9, atol=1e-9)
    assert (logits[True] - expected).abs().max() > 1e-3


def test_bias_tables_of_other_windows(request):
    reference = np.load(request.config.rootpath / 'tests/data/swin/reference_swin-tiny-224.npz')
    table = torch.from_numpy(reference['table12'])
    resized = resize_bias_table(table, 13 * 13)
    torch.testing.assert_close(resized, torch.from_numpy(reference['table7']), rtol=1e-12, atol=1e-12)
