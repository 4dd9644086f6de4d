"""Swin and FocalNet of the official repository, against their recorded outputs."""

import gzip
import json

import numpy as np
import pytest
import torch

from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.projects.relation_detr import FocalNet
from detrove.projects.relation_detr.checkpoint import convert_backbone
from detrove.projects.swin import Swin


def make_swin(settings):
    return Swin(
        arch=dict(embed_dims=settings['embed_dim'], depths=settings['depths'], num_heads=settings['num_heads']),
        drop_path_rate=0.0, out_indices=(1, 2, 3), out_norm=False, frozen_stages=1)


def make_focalnet(settings):
    return FocalNet(embed_dims=settings['embed_dim'], depths=settings['depths'], drop_path_rate=0.0, frozen_stages=1)


class Backbone:
    """A small backbone with the official weights, and the official outputs."""

    def __init__(self, root, name, make, size_hw):
        data = root / 'tests/data/relation_detr'
        self.reference = np.load(data / f'reference_{name}.npz')
        self.model = make(json.loads(str(self.reference['settings'])))
        self.images = deterministic_images(2, *size_hw, seed=0).double()
        self.shapes = json.loads(gzip.decompress((data / f'keys_{name}.json.gz').read_bytes()))
        weights = deterministic_state_dict({key: x for key, x in self.shapes.items() if not key.endswith('index')})
        for key in weights:
            if 'gamma' in key:
                weights[key] += 0.8  # as recorded: with layer scales near zero a block would do nothing
        convert_backbone(weights)
        weights = {key.removeprefix('backbone.'): value for key, value in weights.items()}
        loaded = self.model.load_state_dict(weights, strict=False)
        assert not loaded.unexpected_keys and not loaded.missing_keys


@pytest.fixture(params=[('swin-small', make_swin, (256, 300)), ('focalnet-small', make_focalnet, (125, 150))],
                ids=['swin', 'focalnet'])
def backbone(request):
    return Backbone(request.config.rootpath, *request.param)


def test_feature_maps(backbone):
    backbone.model.double().eval()
    with torch.no_grad():
        maps = backbone.model(backbone.images)
    for i, feature in enumerate(maps):
        assert list(feature.shape) == backbone.reference[f'shape{i}'].tolist()
        sample = feature.flatten()[torch.from_numpy(backbone.reference[f'index{i}'])]
        torch.testing.assert_close(sample, torch.from_numpy(backbone.reference[f'sample{i}']), rtol=1e-10, atol=1e-10)


def test_same_part_is_frozen(backbone):
    backbone.model.train()
    frozen = {f'backbone.{name}' for name, value in backbone.model.named_parameters() if not value.requires_grad}
    frozen_there = [f'backbone.{name}' for name in backbone.reference['frozen']]
    official = {name: torch.zeros(backbone.shapes[name]) for name in frozen_there}
    convert_backbone(official)
    own = {name.removeprefix('backbone.'): torch.ones_like(value) for name, value in official.items()}
    backbone.model.load_state_dict(own, strict=False)  # Swin reads the official names
    loaded = {f'backbone.{name}' for name, value in backbone.model.state_dict().items() if (value == 1).all()}
    assert frozen == loaded


def test_focalnet_reads_the_authors_file():
    model = FocalNet(embed_dims=8, depths=(1, 1, 1, 1), focal_levels=(1,) * 4)
    weights = {name: torch.full_like(value, 0.5) for name, value in model.state_dict().items()}
    model.load_state_dict({'model': weights})
    assert all((value == 0.5).all() for value in model.state_dict().values())
