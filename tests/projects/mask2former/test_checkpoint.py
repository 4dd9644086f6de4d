"""Official Mask2Former checkpoints: the same predictions here, also from files that detectron2 wrote."""

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from torch import nn

from detrove.apis import build_model
from detrove.checkpoints import load_weights, read_checkpoint
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict
from detrove.projects.mask2former.checkpoint import STUFF, convert_official, things_first

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / 'tests/data/mask2former'
CONFIG = ROOT / 'configs/mask2former/mask2former_swin-t_8xb2-lsj-50e_coco.py'
COMPUTED = ('relative_position_index', 'attn_mask', 'empty_weight')


@pytest.fixture(scope='module')
def official():
    shapes = json.loads(gzip.decompress((DATA / 'keys_swin-tiny_coco-instance.json.gz').read_bytes()))
    return deterministic_state_dict({key: shape for key, shape in shapes.items() if not key.endswith(COMPUTED)})


def test_parity(official):
    """Classes of the first and the last prediction and masks of the last, from every weight of the official model."""
    model = build_model(CONFIG, {'model.backbone.init_cfg': None}).eval()
    report = load_weights(model, {**official, 'criterion.empty_weight': torch.ones(81)}, source='official.pkl',
                          must_be_complete=True)
    assert not report.unexpected and not report.mismatched
    reference = np.load(DATA / 'reference_swin-tiny_coco-instance.npz')
    images = deterministic_images(*reference['image_size']).double()
    with torch.no_grad():
        model.double()
        logits, masks = model.panoptic_head(model.extract_feat(images), [DetDataSample()])
    for found, expected in ((logits[0], reference['first_logits']), (logits[-1], reference['logits']),
                            (masks[-1][:, ::5], reference['masks'])):
        # positions of pixels are in single precision in both codes; values deviate by 5 and more
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('num_classes, things, first', [(150, 100, 7), (19, 8, 11), (133, 133, 0)])
def test_things_come_first(num_classes, things, first):
    order = things_first(torch.arange(num_classes + 1)).tolist()
    assert sorted(order) == list(range(num_classes + 1)) and order[-1] == num_classes
    assert order[0] == first
    assert order[:things] == sorted(order[:things]) and set(order[things:-1]) == set(STUFF.get(num_classes, ()))


@pytest.mark.parametrize('name, stuff, first', [
    ('panoptic_head', 50, 7), ('panoptic_head', 0, 0), ('decode_head', 53, 0)])
def test_only_panoptic_heads_sort_classes(name, stuff, first):
    model = nn.Module()
    model.add_module(name, nn.Module())
    getattr(model, name).num_stuff_classes = stuff  # a semantic head has MMDetection's default
    rows = torch.arange(151.0)
    weights = {f'sem_seg_head.predictor.class_embed.{kind}': rows for kind in ('weight', 'bias')}
    convert_official(weights, model)
    assert weights[f'{name}.cls_embed.weight'][0] == weights[f'{name}.cls_embed.bias'][0] == first


def test_detectron2_file(tmp_path):
    content = {'model': {'sem_seg_head.x': np.arange(3, dtype=np.float32)}, '__author__': 'someone'}
    (tmp_path / 'model_final.pkl').write_bytes(pickle.dumps(content))
    weights = read_checkpoint(str(tmp_path / 'model_final.pkl'))['state_dict']
    assert torch.equal(weights['sem_seg_head.x'], torch.arange(3.0))


def test_detectron2_file_with_code(tmp_path):
    (tmp_path / 'model_final.pkl').write_bytes(pickle.dumps({'model': Path('x')}))
    with pytest.raises(ValueError, match='could run code'):
        read_checkpoint(str(tmp_path / 'model_final.pkl'))
