"""MMDetection's own Deformable DETR, with weights of its own, against ours with the same after conversion."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.hub import get_config

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict

SMALL = {'model.encoder.num_layers': 2, 'model.decoder.num_layers': 2}


@pytest.mark.parametrize(('ours', 'theirs'), [
    ('deformable-detr', 'deformable-detr'),
    ('deformable-detr-two-stage', 'deformable-detr-refine-twostage'),
])
def test_same_predictions(ours, theirs, request):
    """Two images of different sizes, two layers and 20 queries."""
    schedule = '_r50_16xb2-50e_coco.py'
    config = get_config(f'mmdet::deformable_detr/{theirs}{schedule}')
    expected_model = build_model(config, {**SMALL, 'model.num_queries': 20}).eval()
    names = expected_model.state_dict(keep_vars=True)
    drawn = deterministic_state_dict({f'mmdet.{name}': value.shape for name, value in names.items()})
    weights, first = {}, {}
    for name, value in drawn.items():  # names that share a tensor have the values of the first
        name = name.removeprefix('mmdet.')
        weights[name] = first.setdefault(names[name].data_ptr(), value)
    expected_model.load_state_dict(weights, strict=False)

    path = request.config.rootpath / 'configs/deformable_detr' / f'{ours}{schedule}'
    model = build_model(path, {**SMALL, 'model.query_selection.num_queries': 20}).eval()
    result = model.load_state_dict({'state_dict': weights}, strict=False)
    assert not result.unexpected_keys
    assert all(name.endswith('num_batches_tracked') for name in result.missing_keys)

    samples = [DetDataSample(metainfo=dict(img_shape=size_hw, batch_input_shape=(96, 128)))
               for size_hw in ((96, 128), (80, 100))]
    images = deterministic_images(2, 96, 128, seed=0)
    with torch.no_grad():
        logits, boxes = model._forward(images, samples)
        expected_logits, expected_boxes, *_ = expected_model._forward(images, samples)
    torch.testing.assert_close(logits, expected_logits[-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(boxes, expected_boxes[-1], rtol=1e-4, atol=1e-4)
