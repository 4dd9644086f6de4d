"""DINO against MMDetection's own, run here with the same weights: detections, and losses without denoising.

Box heads are scaled down so that references keep away from the image's border: within 1e-3 of it MMDetection clamps
them otherwise than DINO does.
"""

import copy

import pytest
import torch
from mmdet.models.dense_heads import DINOHead
from mmdet.models.layers import CdnQueryGenerator
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.structures import InstanceData

from detrove.apis import build_model
from detrove.checkpoints.deterministic import deterministic_images, deterministic_state_dict

INPUT_HW = 128, 128
SIZES_HW = (128, 128), (64, 128)  # powers of two: normalised boxes are exact in single precision
SMALL = {'model.encoder.num_layers': 2, 'model.decoder.num_layers': 2, 'model.backbone.init_cfg': None}


@pytest.fixture(scope='module')
def theirs():
    config = get_config('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py')
    model = build_model(config, {**SMALL, 'model.num_queries': 100})
    drawn = deterministic_state_dict({f'model.{name}': value.shape for name, value in model.state_dict().items()})
    weights = {name.removeprefix('model.'): value for name, value in drawn.items()}
    for name, value in weights.items():
        if 'reg_branches' in name and '.4.' in name:
            value *= 0.05
    assert all('num_batches_tracked' in name for name in model.load_state_dict(weights, strict=False).missing_keys)
    return model.double()


@pytest.fixture(scope='module')
def ours(theirs, request):
    config = request.config.rootpath / 'configs/dino/dino-4scale-mmdet_r50_8xb2-12e_coco.py'
    model = build_model(config, {**SMALL, 'model.query_selection.num_queries': 100})
    model.double().load_state_dict({'meta': {}, 'state_dict': copy.deepcopy(theirs.state_dict())})
    return model


@pytest.fixture
def batch():
    """Two padded images; the second is smaller and has no object."""
    images = deterministic_images(2, *INPUT_HW, seed=3).double()
    images[1, :, SIZES_HW[1][0]:] = 0
    boxes = [torch.tensor([[8., 16., 72., 80.], [40., 4., 120., 100.], [0., 64., 32., 128.]]), torch.zeros(0, 4)]
    samples = []
    for size_hw, boxes_xyxy in zip(SIZES_HW, boxes, strict=True):
        sample = DetDataSample(metainfo=dict(batch_input_shape=INPUT_HW, img_shape=size_hw, ori_shape=(300, 300),
                                             scale_factor=(0.5, 0.25)))
        labels = torch.arange(len(boxes_xyxy)) * 30
        sample.gt_instances = InstanceData(bboxes=boxes_xyxy.double(), labels=labels)
        samples.append(sample)
    return images, samples


def test_detections(theirs, ours, batch):
    images, samples = batch
    with torch.no_grad():
        expected = theirs.eval().predict(images, copy.deepcopy(samples))
        actual = ours.eval().predict(images, copy.deepcopy(samples))
    for theirs_of, ours_of, (height, width) in zip(expected, actual, SIZES_HW, strict=True):
        theirs_of, ours_of = theirs_of.pred_instances, ours_of.pred_instances
        assert torch.equal(ours_of.labels, theirs_of.labels)
        torch.testing.assert_close(ours_of.scores, theirs_of.scores, rtol=1e-6, atol=1e-6)
        # theirs are clipped to the image
        limit = torch.tensor([width / 0.5, height / 0.25]).repeat(2).double()
        clipped = torch.minimum(ours_of.bboxes.clamp(min=0), limit)
        torch.testing.assert_close(clipped, theirs_of.bboxes, rtol=1e-6, atol=1e-4)


def test_losses_and_gradient(theirs, ours, batch, monkeypatch):
    images, samples = batch
    nothing = torch.zeros(2, 0, 256).double(), torch.zeros(2, 0, 4).double(), None, dict(
        num_denoising_queries=0, num_denoising_groups=1)
    monkeypatch.setattr(CdnQueryGenerator, '__call__', lambda *_: nothing)
    monkeypatch.setattr(DINOHead, 'loss_dn', lambda *_, **__: ([torch.zeros(())],) * 3)
    monkeypatch.setitem(ours._modules, 'denoising', None)
    theirs.zero_grad()
    ours.zero_grad()
    expected = theirs.train().loss(images, copy.deepcopy(samples))
    expected = {name.replace('enc_', 'enc.').replace('iou', 'giou'): value for name, value in expected.items()
                if 'dn_' not in name}
    actual = ours.train().loss(images, copy.deepcopy(samples))
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        torch.testing.assert_close(value, expected[name].reshape(()), rtol=1e-6, atol=1e-6)
    norms = []
    for model, losses in ((ours, actual), (theirs, expected)):
        sum(losses.values()).backward()
        norms.append(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())
    torch.testing.assert_close(*norms, rtol=1e-6, atol=0)
