"""The deformable attention module: sampling positions, initial state, settings."""

import pytest
import torch

from detrove.layers import MSDeformableAttention

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
