"""The encoder of plain DETRs against torch's own transformer encoder layer."""

import dataclasses

import pytest
import torch

from detrove.layers import DenseEncoder
from detrove.layers.sine import sine_of_tokens


@pytest.fixture
def memory(make_memory):
    torch.manual_seed(0)
    return make_memory(torch.randn(2, 6, 32, dtype=torch.float64), ((2, 3),), [(64, 96), (64, 64)], (64, 96))


def test_equals_torch(memory):
    """A layer that sees positions in queries and keys only; torch's own adds none, so positions are zero here."""
    encoder = DenseEncoder(num_layers=1, num_heads=4, feedforward_dims=16, embed_dims=32).double()
    layer, = encoder.layers
    official = torch.nn.TransformerEncoderLayer(32, 4, 16, 0.0, batch_first=True).double()
    official.load_state_dict(layer.state_dict())
    bias = memory.tokens.new_zeros(2, 1, 1, 6).masked_fill(memory.padding[:, None, None], -float('inf'))
    ours = layer(memory.tokens, torch.zeros(1, 6, 32, dtype=torch.float64), bias)
    torch.testing.assert_close(ours, official(memory.tokens, src_key_padding_mask=memory.padding))


@pytest.mark.parametrize('settings', [{}, dict(scaled=True, activation='prelu', temperature=20.0)], ids=['detr', 'dab'])
def test_padding_is_not_seen(memory, settings):
    encoder = DenseEncoder(num_layers=2, num_heads=4, feedforward_dims=16, embed_dims=32, **settings).double()
    padding = memory.padding[..., None]
    out = encoder(memory)
    other = encoder(dataclasses.replace(memory, tokens=memory.tokens.masked_fill(padding, 100.0)))
    torch.testing.assert_close(out.tokens.masked_fill(padding, 0), other.tokens.masked_fill(padding, 0))
    torch.testing.assert_close(out.position, sine_of_tokens(memory, 32, encoder.temperature).double())


def test_one_level_only():
    with pytest.raises(ValueError, match='num_levels=1, not 4'):
        DenseEncoder(num_levels=4)
