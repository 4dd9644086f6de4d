"""Official state dicts of H-DETR fill the models of its configs."""

import gzip
import json

import numpy as np
import pytest
import torch

from detrove.apis import build_model
from detrove.checkpoints import COCO_CATEGORY_IDS
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict

# not in the state dicts, or computed from the sizes of windows and equal
CONSTANTS = ('num_batches_tracked', 'relative_position_index')


def official_weights(root, name):
    data = root / 'tests/data/h_detr' / f'keys_{name}.json.gz'
    shapes = json.loads(gzip.decompress(data.read_bytes()))
    weights = deterministic_state_dict({key: shape for key, shape in shapes.items() if not key.endswith(CONSTANTS)})
    for key in weights:  # the decoder names the heads a second time
        if key.startswith('transformer.decoder.') and '_embed.' in key:
            weights[key] = weights[key.removeprefix('transformer.decoder.')]
    return weights


@pytest.mark.parametrize(('name', 'config', 'many'), [
    ('h-detr_r50', 'h-detr_r50_8xb2-12e_coco.py', 300),
    ('h-detr_swin-t', 'h-detr_swin-t_8xb2-12e_coco.py', 1500),
])
def test_every_entry_of_the_model_is_filled(request, name, config, many):
    """91 rows of classes become 80, except that the encoder's row 0 still ranks the tokens."""
    root = request.config.rootpath
    weights = official_weights(root, name)
    model = build_model(root / 'configs/h_detr' / config, {'model.one_to_many.num_queries': many})
    result = model.load_state_dict({'model': weights}, strict=False)
    assert not result.unexpected_keys
    assert all(key.endswith(CONSTANTS) for key in result.missing_keys)
    assert torch.equal(model.bbox_head.class_heads[2].weight, weights['class_embed.2.weight'][COCO_CATEGORY_IDS])
    assert torch.equal(model.query_selection.class_head.weight[0], weights['class_embed.6.weight'][0])
    assert torch.equal(model.one_to_many.content.weight, weights['query_embed.weight'][300:])
    if 'swin' in name:
        model.backbone.double().eval()
        assert_official_features(model.backbone, np.load(root / 'tests/data/h_detr/reference_swin-t.npz'))


def assert_official_features(backbone, reference):
    with torch.no_grad():
        maps = backbone(deterministic_images(2, 192, 230, seed=0).double())
    for i, feature in enumerate(maps):
        assert list(feature.shape) == reference[f'shape{i}'].tolist()
        sample = feature.flatten()[torch.from_numpy(reference[f'index{i}'])]
        torch.testing.assert_close(sample, torch.from_numpy(reference[f'sample{i}']), rtol=1e-8, atol=1e-8)
