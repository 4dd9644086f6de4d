"""The deformable encoder: padding, fusion, initial state."""

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from detrove.layers import DeformableEncoder

SHAPES, SMALL = ((6, 8), (3, 4)), ((4, 6), (2, 3))
SETTINGS = dict(num_layers=2, embed_dims=16, num_levels=2, num_heads=4, num_points=2, feedforward_dims=32)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return DeformableEncoder(**SETTINGS)


def test_padding_changes_nothing_for_the_image(encoder, make_memory):
    maps = [torch.randn(1, height, width, 16) for height, width in SMALL]
    padded = [nn.functional.pad(x, (0, 0, 0, w - x.shape[2], 0, h - x.shape[1]), value=5.0)
              for x, (h, w) in zip(maps, SHAPES, strict=True)]
    alone = encoder(make_memory(torch.cat([x.flatten(1, 2) for x in maps], 1), SMALL))
    memory = encoder(make_memory(torch.cat([x.flatten(1, 2) for x in padded], 1), SHAPES, [(32, 48)], (48, 64)))
    torch.testing.assert_close(memory.tokens[~memory.padding][None], alone.tokens, rtol=1e-4, atol=1e-5)


def test_images_of_one_size_need_no_mask(encoder, make_memory):
    tokens = torch.randn(2, 60, 16)
    plain = make_memory(tokens, SHAPES)
    full = make_memory(tokens, SHAPES, [(48, 64), (48, 64)], (48, 64))
    assert full.padding is None and torch.equal(encoder(full).tokens, encoder(plain).tokens)


def test_levels_are_told_apart(encoder, make_memory):
    """Every level's embedding steers where its tokens look, once offsets depend on anything."""
    for layer in encoder.layers:
        torch.nn.init.normal_(layer.self_attn.sampling_offsets.weight)
    assert encoder.level_embedding.shape == (2, 16)
    encoder(make_memory(torch.randn(1, 60, 16), SHAPES)).tokens.square().sum().backward()
    assert encoder.level_embedding.grad.abs().sum(1).min() > 0


def test_fusion_sees_every_layer(make_memory):
    @MODELS.register_module(force=True)
    class SumOfLayersOfATest(nn.Module):
        def __init__(self, embed_dims, num_layers):
            super().__init__()
            assert (embed_dims, num_layers) == (16, 2)

        def forward(self, history):
            assert len(history) == 3
            return sum(history)

    torch.manual_seed(0)
    fused = DeformableEncoder(**SETTINGS, fusion=dict(type='SumOfLayersOfATest'))
    torch.manual_seed(0)
    plain = DeformableEncoder(**SETTINGS)
    torch.manual_seed(0)
    first = DeformableEncoder(**{**SETTINGS, 'num_layers': 1})
    first.load_state_dict(plain.state_dict(), strict=False)
    memory = make_memory(torch.randn(1, 60, 16), SHAPES)
    expected = memory.tokens + first(memory).tokens + plain(memory).tokens
    torch.testing.assert_close(fused(memory).tokens, expected)


def test_initial_state(encoder):
    layer = encoder.layers[0]
    assert not torch.equal(layer.linear1.weight, encoder.layers[1].linear1.weight)
    assert layer.linear1.weight.abs().max() <= (6 / (16 + 32)) ** 0.5
    assert not layer.self_attn.sampling_offsets.weight.any() and layer.self_attn.sampling_offsets.bias.any()
