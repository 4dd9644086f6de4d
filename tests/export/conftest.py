"""A detector small enough to be exported in seconds."""

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_state_dict

SIZE = 64


def with_deterministic_weights(model):
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if value.dim()}
    model.load_state_dict({**model.state_dict(), **deterministic_state_dict(shapes)})
    return model.eval()


@pytest.fixture(scope='session')
def config():
    """RT-DETR's nano config with one decoder layer and fewer channels, for images of 64 x 64."""
    config = Config.fromfile('configs/rt_detr/rtdetr_nano_shapes.py')
    model = config.model
    model.embed_dims = 32
    model.backbone.base_channels = 8
    model.neck[0].update(in_channels=[16, 32, 64], embed_dims=32, feedforward_dims=32)
    model.neck[1].update(in_channels=[32] * 3, out_channels=32)
    model.query_selection.num_queries = 12
    model.decoder.num_layers = 1
    model.decoder.layer.feedforward_dims = 32
    model.test_cfg.max_per_img = 12
    config.test_dataloader.dataset.pipeline[1].scale = (SIZE, SIZE)
    return config


@pytest.fixture(scope='session')
def model(config):
    model = with_deterministic_weights(build_model(config))
    model.dataset_meta = dict(classes=('circle', 'square', 'triangle', 'star', 'cross', 'ring'))
    return model


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, SIZE, 96, generator=generator)
