"""The forms that operators and layers take in files have the results of those that they take elsewhere."""

import pytest
import torch
from mmengine.config import Config

from detrove.apis import build_model
from detrove.export.precision import to_half
from detrove.ops import ms_deform_attn
from detrove.ops.export_form import export_form, is_exporting
from tests.export.conftest import with_deterministic_weights


@pytest.mark.parametrize('method', ['default', 'discrete'])
@pytest.mark.parametrize('form', ['gather', 'grid_sample'])
def test_sampling(form, method):
    generator = torch.Generator().manual_seed(0)
    shapes, num_points = ((5, 7), (3, 4)), (3, 1)
    value = torch.randn(2, 47, 3, 4, generator=generator)
    locations = torch.rand(2, 6, 3, 4, 2, generator=generator) * 1.6 - 0.3  # some outside the map
    weights = torch.rand(2, 6, 3, 4, generator=generator)
    expected = ms_deform_attn(value, shapes, locations, weights, num_points, method)
    with export_form(form):
        found = ms_deform_attn(value, shapes, locations, weights, num_points, method)
    torch.testing.assert_close(found, expected)


def test_form_ends_with_its_block_and_is_checked():
    with export_form():
        assert is_exporting()
    assert not is_exporting()
    with pytest.raises(ValueError, match="sampling='nearest'"), export_form('nearest'):
        pass


@pytest.mark.parametrize('name', ['dino/dino_nano_shapes.py', 'relation_detr/relation-detr_nano_shapes.py',
                                  'rank_detr/rank-detr_nano_shapes.py'])
@torch.no_grad()
def test_detectors(name, image):
    model = with_deterministic_weights(build_model(Config.fromfile(f'configs/{name}')))
    expected = model._forward(image)
    with export_form():
        found = model._forward(image)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_half_precision_keeps_boxes_in_float32(config, model, image):
    half = build_model(config)
    half.load_state_dict(model.state_dict())
    to_half(half.eval())
    kept = {name for name, value in half.named_parameters() if value.dtype == torch.float32}
    assert kept == {name for name, _ in half.named_parameters() if name.startswith('decoder.position.')}
    logits, boxes = half._forward(image.half())
    assert logits.dtype == boxes.dtype == torch.float32
    expected = model._forward(image)
    torch.testing.assert_close(logits.amax((1, 2)), expected[0].amax((1, 2)), rtol=0.05, atol=0.05)
