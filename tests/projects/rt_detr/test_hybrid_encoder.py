"""The hybrid encoder: shapes, position embedding, settings."""

import pytest
import torch

from detrove.projects.rt_detr import HybridEncoder
from detrove.projects.rt_detr.hybrid_encoder import sincos_position


def make_feats(height, width, channels=(8, 16, 24)):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, c, -(-height // s), -(-width // s), generator=generator)
                 for c, s in zip(channels, (8, 16, 32), strict=True))


@pytest.mark.parametrize('size_hw', [(64, 96), (96, 64), (72, 40)])
@pytest.mark.parametrize('settings', [{}, dict(expansion=0.5, depth_mult=1 / 3), dict(num_attention_layers=0)],
                         ids=['plain', 'narrow', 'no attention'])
def test_shapes_and_gradients(size_hw, settings):
    encoder = HybridEncoder(in_channels=[8, 16, 24], embed_dims=32, feedforward_dims=64, **settings)
    feats = make_feats(*size_hw)
    outs = encoder(feats)
    assert [out.shape for out in outs] == [(2, 32, *feat.shape[-2:]) for feat in feats]
    sum(out.mean() for out in outs).backward()
    assert not [name for name, parameter in encoder.named_parameters() if parameter.grad is None]


def test_batch_equals_single_images():
    encoder = HybridEncoder(in_channels=[8, 16, 24], embed_dims=32).eval()
    feats = make_feats(64, 96)
    with torch.no_grad():
        together = encoder(feats)
        alone = encoder(tuple(feat[1:] for feat in feats))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:], b, rtol=1e-4, atol=1e-5)


def test_position_is_y_then_x():
    """Token (y, x) in row-major order; first half of the channels depends on y alone, second half on x alone."""
    pos = sincos_position(3, 5, 16)[0].view(3, 5, 16)
    assert torch.equal(pos[:, 0, :8], pos[:, 4, :8]) and torch.equal(pos[0, :, 8:], pos[2, :, 8:])
    torch.testing.assert_close(pos[2, 3, 0], torch.tensor(2.0).sin())
    torch.testing.assert_close(pos[2, 3, 4], torch.tensor(2.0).cos())
    torch.testing.assert_close(pos[2, 3, 8], torch.tensor(3.0).sin())
    torch.testing.assert_close(pos[2, 3, 9], torch.tensor(3.0 * 10000 ** -0.25).sin())


def test_trains_after_inference_mode():
    encoder = HybridEncoder(in_channels=[8, 16, 24], embed_dims=32)
    with torch.inference_mode():
        encoder(make_feats(64, 64))
    encoder(make_feats(64, 64))[0].sum().backward()


def test_wrong_number_of_levels_is_named():
    with pytest.raises(ValueError, match='got 2 levels, but in_channels names 3'):
        HybridEncoder(in_channels=[8, 16, 24], embed_dims=32)(make_feats(64, 64)[:2])


def test_embedding_needs_four_parts():
    with pytest.raises(ValueError, match='embed_dims=30 must be divisible by 4'):
        sincos_position(2, 2, 30)


@pytest.mark.parametrize('training', [False, True])
def test_gradients_of_one_image_are_those_of_two_equal_ones(training):
    """torch's batch norm on the CPU misreads the gradient of one image if attention hands it on as it comes."""
    torch.manual_seed(0)
    neck = HybridEncoder(in_channels=[8, 8, 8], embed_dims=16, num_heads=2, feedforward_dims=16, depth_mult=1 / 3)
    neck.train(training)
    feats = [torch.randn(1, 8, size, size) for size in (8, 4, 2)]

    def gradient(number):
        neck.zero_grad()
        maps = neck(tuple(feat.expand(number, -1, -1, -1).contiguous() for feat in feats))
        sum(level.sin().sum() for level in maps).backward()
        return neck.input_proj[2].norm.weight.grad / number

    torch.testing.assert_close(gradient(1), gradient(2), rtol=1e-4, atol=1e-5)
