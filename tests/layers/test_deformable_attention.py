"""The deformable attention module: sampling positions, initial state, settings."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detrove.engine.blocks import recompute
from detrove.layers import DETRDecoder, MSDeformableAttention, deformable_attention
from detrove.layers.query_branches import QueryBranch
from detrove.ops import ms_deform_attn
from detrove.ops.export_form import export_form

SHAPES = ((6, 8), (3, 4))


def test_samples_around_the_box(make_memory):
    """With one point per head and no offset every head reads the centre of the box."""
    torch.manual_seed(0)
    attention = MSDeformableAttention(embed_dims=8, num_heads=2, num_levels=1, num_points=1)
    torch.nn.init.zeros_(attention.sampling_offsets.bias)
    for linear in (attention.value_proj, attention.output_proj):
        torch.nn.init.eye_(linear.weight)
    memory = torch.randn(1, 48, 8)
    # centre of the cell in row 2, column 5 of a 6 x 8 map
    reference = torch.tensor([[[5.5 / 8, 2.5 / 6, 0.3, 0.2]]])
    out = attention(torch.randn(1, 1, 8), reference, make_memory(memory, SHAPES[:1]))
    torch.testing.assert_close(out[0, 0], memory[0, 2 * 8 + 5])


def test_point_reference_counts_offsets_in_cells(make_memory):
    """An offset of one cell to the right and one up, on a level of 6 x 8 cells."""
    attention = MSDeformableAttention(embed_dims=8, num_heads=2, num_levels=1, num_points=1)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, -1.0]).repeat(2))
    for linear in (attention.value_proj, attention.output_proj):
        torch.nn.init.eye_(linear.weight)
    memory = torch.randn(1, 48, 8)
    out = attention(torch.randn(1, 1, 8), torch.tensor([[[5.5 / 8, 2.5 / 6]]]), make_memory(memory, SHAPES[:1]))
    torch.testing.assert_close(out[0, 0], memory[0, 1 * 8 + 6])


@pytest.mark.parametrize('dims', [2, 4])
def test_padding_is_neither_read_nor_counted(make_memory, dims):
    """An image in the corner of a padded batch gives what it gives alone."""
    torch.manual_seed(0)
    attention = MSDeformableAttention(embed_dims=16, num_heads=4, num_levels=2, num_points=3)
    query, reference = torch.randn(1, 5, 16), torch.rand(1, 5, dims)
    alone = [torch.randn(1, height, width, 16) for height, width in ((4, 6), (2, 3))]
    padded = [torch.nn.functional.pad(x, (0, 0, 0, w - x.shape[2], 0, h - x.shape[1]), value=7.0)
              for x, (h, w) in zip(alone, SHAPES, strict=True)]
    tokens = torch.cat([x.flatten(1, 2) for x in padded], 1)
    memory = make_memory(tokens, SHAPES, [(32, 48)], (48, 64))
    assert memory.valid_wh.tolist() == [[[6, 4], [3, 2]]] and int((~memory.padding).sum()) == 24 + 6
    unpadded = make_memory(torch.cat([x.flatten(1, 2) for x in alone], 1), ((4, 6), (2, 3)))
    expected = attention(query, reference, unpadded)
    torch.testing.assert_close(attention(query, reference, memory), expected, rtol=1e-4, atol=1e-5)


def _attention_and_inputs(method='default'):
    """Three images' queries, and memory of the first two levels, whose bias and padding matter."""
    torch.manual_seed(0)
    attention = MSDeformableAttention(embed_dims=16, num_heads=4, num_levels=2, num_points=(3, 2), method=method)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(3, 60, 16, requires_grad=True)
    query, reference = torch.randn(3, 5, 16, requires_grad=True), torch.rand(3, 5, 4, requires_grad=True)
    return attention, query, reference, tokens


@pytest.mark.parametrize('padded', [False, True])
@pytest.mark.parametrize('method', ['default', 'discrete'])
def test_projecting_samples_is_sampling_projections(make_memory, method, padded):
    """Values and all gradients, with samples beyond the rim of the map, where the projection's bias does not count."""
    attention, query, reference, tokens = _attention_and_inputs(method)
    sizes = [[(32, 48), (48, 64), (17, 64)], (48, 64)] if padded else ()
    learning = [query, tokens, *(parameter for parameter in attention.parameters() if parameter.requires_grad)]
    learning += [reference] if method == 'default' else []
    memory = make_memory(tokens, SHAPES, *sizes)
    results = []
    for ready in (memory, memory.with_one()):
        out = attention(query, reference, ready)
        results.append((out, *torch.autograd.grad(out.square().sum(), learning)))
    locations, _ = attention.sampling_points(query, reference, memory)
    assert ((locations < 0) | (locations > 1)).any()
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_one_belongs_to_the_tokens(make_memory):
    memory = make_memory(torch.randn(2, 60, 16), SHAPES, [(32, 48), (48, 64)], (48, 64)).with_one()
    inside = (~memory.padding)[..., None]
    assert torch.equal(memory.tokens_and_one[..., :16], memory.tokens * inside)
    assert torch.equal(memory.tokens_and_one[..., 16:17], inside.float()) and not memory.tokens_and_one[..., 17:].any()
    assert memory.with_tokens(memory.tokens).tokens_and_one is None


def test_who_samples_first():
    """Few queries on many tokens, in float32 on a CPU, where nobody watches."""
    attention, tokens = MSDeformableAttention(), torch.zeros(1, 8400, 256)
    assert attention.samples_first(tokens, 300)
    assert not attention.samples_first(tokens, 8400)
    assert not attention.samples_first(tokens[:, :756], 30)  # little work
    assert not attention.samples_first(tokens.to('meta'), 300)
    assert not attention.samples_first(tokens.double(), 300)
    with torch.autocast('cpu', torch.bfloat16):
        assert not attention.samples_first(tokens, 300)
    with export_form():
        assert not attention.samples_first(tokens, 300)
    with FlopCounterMode(display=False):
        assert not attention.samples_first(tokens, 300)
    handle = attention.value_proj.register_forward_pre_hook(lambda *_: None)  # would see nothing
    assert not attention.samples_first(tokens, 300)
    handle.remove()
    assert attention.samples_first(tokens, 300)
    attention.value_proj = torch.nn.Sequential(attention.value_proj)  # as adapters and quantisation do
    assert not attention.samples_first(tokens, 300)


class Head(torch.nn.Module):
    """Predictions that are parts of the query."""

    def box_delta(self, layer, query):
        return query[..., :4]

    def classify(self, layer, query, branches):
        return query


@pytest.fixture
def decoder_and_inputs(make_memory):
    torch.manual_seed(0)
    decoder = DETRDecoder(layer=dict(type='DeformableDecoderLayer', num_heads=4, feedforward_dims=8), num_layers=3,
                          embed_dims=16, num_levels=2)
    memory = make_memory(torch.randn(2, 60, 16, requires_grad=True), SHAPES, [(32, 48), (48, 64)], (48, 64))
    inputs = torch.randn(2, 5, 16), torch.randn(2, 5, 4), torch.randn(2, 5, 16), memory, Head(), [
        QueryBranch('main', 5)]
    return decoder, inputs


@pytest.mark.parametrize('recomputed', [False, True])
def test_a_decoder_makes_the_memory_ready_for_all_its_layers(monkeypatch, decoder_and_inputs, recomputed):
    decoder, inputs = decoder_and_inputs
    learning = [inputs[3].tokens, *decoder.layers.parameters()]
    results = []
    for first in (False, True):
        monkeypatch.setattr(MSDeformableAttention, 'samples_first', lambda *_, first=first: first)
        if first and recomputed:
            recompute(decoder, True)
        out = decoder(*inputs)
        loss = out.boxes_cxcywh.square().sum() + out.logits.square().sum()
        results.append((loss, *torch.autograd.grad(loss, learning)))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert inputs[3].tokens_and_one is None


def test_the_chosen_form_compiles_whole(monkeypatch, decoder_and_inputs):
    """Without a graph break, and in the form that is chosen outside of a compiler."""
    decoder, (content, reference, position, memory, *_) = decoder_and_inputs
    monkeypatch.setattr(deformable_attention, '_MULTIPLICATIONS', 0)
    monkeypatch.setattr(deformable_attention, '_OF_A_SAMPLE', 0)
    shapes = []
    monkeypatch.setattr(deformable_attention, 'ms_deform_attn', lambda value, *args, **kwargs: (
        shapes.append(value.shape), ms_deform_attn(value, *args, **kwargs))[1])

    def first_layer(memory):
        return decoder.layers[0](content, position, reference.sigmoid(), decoder._ready_to_sample(memory, 5))

    expected = first_layer(memory)
    torch.testing.assert_close(torch.compile(first_layer, fullgraph=True, backend='aot_eager')(memory), expected)
    assert set(shapes) == {(2, 60, 1, 24)}


def test_offset_of_n_points_reaches_half_the_box():
    """Offsets are in units of half the box's size, divided by the number of points on the level."""
    attention = MSDeformableAttention(embed_dims=8, num_heads=1, num_levels=2, num_points=(4, 2))
    assert attention.offset_share.flatten().tolist() == [0.125] * 4 + [0.25] * 2


def test_initial_offsets_form_rings():
    attention = MSDeformableAttention(embed_dims=16, num_heads=4, num_levels=2, num_points=3)
    offsets = attention.sampling_offsets.bias.view(4, 2, 3, 2)
    assert torch.equal(offsets[:, 0], offsets[:, 1])
    torch.testing.assert_close(offsets.abs().amax(-1), torch.tensor([1.0, 2.0, 3.0]).expand(4, 2, 3))
    torch.testing.assert_close(offsets[0, 0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(offsets[1, 0, 1], torch.tensor([0.0, 2.0]))


def test_discrete_offsets_stay_fixed(make_memory):
    attention = MSDeformableAttention(embed_dims=16, num_heads=4, num_levels=2, method='discrete')
    out = attention(torch.randn(2, 5, 16), torch.rand(2, 5, 4), make_memory(torch.randn(2, 60, 16), SHAPES))
    out.sum().backward()
    learning = {name for name, parameter in attention.named_parameters() if parameter.grad is not None}
    assert learning == {f'{part}.{kind}' for part in ('attention_weights', 'value_proj', 'output_proj')
                        for kind in ('weight', 'bias')}


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(num_points=(4, 4)), 'one number for each of 3 levels'),
    (dict(embed_dims=30), 'divisible by num_heads'),
    (dict(method='nearest'), "must be 'default' or 'discrete'"),
])
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        MSDeformableAttention(**settings)


def test_nothing_about_the_input_size_in_the_state():
    assert not any('offset_share' in name for name in MSDeformableAttention().state_dict())
