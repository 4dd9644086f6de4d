"""Attention of Conditional DETR and DAB-DETR against its definition, written out with full masks."""

import pytest
import torch

from detrove.layers import ConditionalDecoderLayer, ConditionalSpatialQuery, DenseEncoder, QueryBranch
from detrove.layers.conditional_attention import ConditionalCrossAttention, ConditionalSelfAttention
from detrove.layers.sine import sine_embedding

HEADS, DIMS = 4, 32


def softmax_attention(logits, value, visible):
    weights = logits.masked_fill(~visible, -float('inf')).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)


def heads(x):
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


@pytest.fixture
def memory(make_memory):
    """Two images of 2 x 3 tokens, the second padded in its last column."""
    torch.manual_seed(0)
    return DenseEncoder(num_layers=1, num_heads=HEADS, feedforward_dims=16, embed_dims=DIMS).double()(
        make_memory(torch.randn(2, 6, DIMS, dtype=torch.float64), ((2, 3),), [(64, 96), (64, 64)], (64, 96)))


def test_self_attention_in_groups():
    torch.manual_seed(0)
    attention = ConditionalSelfAttention(DIMS, HEADS).double()
    query, position = torch.randn(2, 3, 15, DIMS, dtype=torch.float64)
    out = attention(query, position, [QueryBranch('main', 5), QueryBranch('group', 10, 2)])
    q = heads(attention.q_content(query) + attention.q_position(position))
    k = heads(attention.k_content(query) + attention.k_position(position))
    group = torch.arange(15) // 5
    expected = softmax_attention(q @ k.transpose(-1, -2) / (DIMS / HEADS) ** 0.5, heads(attention.value(query)),
                                 group[:, None] == group)
    torch.testing.assert_close(out, attention.out_proj(expected))


@pytest.mark.parametrize('located_content', [False, True])
def test_cross_attention_compares_contents_and_positions(memory, located_content):
    attention = ConditionalCrossAttention(DIMS, HEADS, located_content=located_content).double()
    query, position, spatial = torch.randn(3, 2, 7, DIMS, dtype=torch.float64)
    q, k = attention.q_content(query), attention.k_content(memory.tokens)
    k_position, spatial_position = attention.k_position(memory.position), attention.q_spatial(spatial)
    if located_content:
        q, k = q + attention.q_position(position), k + k_position
    logits = heads(q) @ heads(k).transpose(-1, -2) + heads(spatial_position) @ heads(k_position).transpose(-1, -2)
    expected = softmax_attention(logits / (2 * DIMS / HEADS) ** 0.5, heads(attention.value(memory.tokens)),
                                 ~memory.padding[:, None, None])
    torch.testing.assert_close(attention(query, position, spatial, memory), attention.out_proj(expected))


def test_only_the_first_layer_adds_positions_to_contents():
    assert ConditionalDecoderLayer().cross_attn.q_position is None
    assert ConditionalDecoderLayer(located_content=True).cross_attn.q_position is not None


def test_tokens_need_positions(make_memory):
    attention = ConditionalCrossAttention(DIMS, HEADS)
    query = torch.zeros(1, 2, DIMS)
    with pytest.raises(ValueError, match='DenseEncoder'):
        attention(query, query, query, make_memory(torch.zeros(1, 6, DIMS), ((2, 3),)))


def test_spatial_query_of_points():
    spatial_query = ConditionalSpatialQuery(embed_dims=DIMS)
    query, point = torch.randn(1, 2, DIMS), torch.rand(1, 2, 2)
    y, x = (sine_embedding(point[..., i] * 2 * torch.pi, DIMS // 2) for i in (1, 0))
    torch.testing.assert_close(spatial_query(0, query, point), torch.cat([y, x], -1))
    torch.testing.assert_close(spatial_query(1, query, point), torch.cat([y, x], -1) * spatial_query.scale(query))


def test_spatial_query_of_boxes_knows_their_shape():
    """Half the width doubles the part that belongs to x."""
    spatial_query = ConditionalSpatialQuery(modulated=True, embed_dims=DIMS)
    query, box = torch.randn(1, 2, DIMS), torch.rand(1, 2, 4)
    wide = spatial_query(0, query, box)
    narrow = spatial_query(0, query, box * torch.tensor([1, 1, 0.5, 1]))
    assert torch.equal(narrow[..., :DIMS // 2], wide[..., :DIMS // 2])
    torch.testing.assert_close(narrow[..., DIMS // 2:], 2 * wide[..., DIMS // 2:])
