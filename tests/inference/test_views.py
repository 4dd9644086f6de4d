"""Test-time augmentation: what is seen mirrored comes back to its place, and sizes are those of the pipeline."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from detrove.apis import init_model
from detrove.inference import ImagePipeline, View, make_views, predict_fused


@pytest.fixture(scope='module')
def models():
    torch.manual_seed(0)
    return [init_model('configs/rt_detr/rtdetr_nano_shapes.py'),
            init_model('configs/segmentation/upernet_r18_1k_shapes.py')]


@pytest.fixture(scope='module')
def symmetric():
    """An image that is its own mirror image."""
    half = np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8)
    return np.concatenate([half, half[:, ::-1]], axis=1)


def test_boxes_come_back(models, symmetric):
    plain, = View().predict(models[0], [symmetric])
    mirrored, = View(flip=True).predict(models[0], [symmetric])
    boxes = plain.pred_instances.bboxes
    expected = torch.stack([128 - boxes[:, 2], boxes[:, 1], 128 - boxes[:, 0], boxes[:, 3]], 1)
    torch.testing.assert_close(mirrored.pred_instances.bboxes, expected)
    assert mirrored.pred_instances.scores.equal(plain.pred_instances.scores)


def test_boxes_of_all_views_are_fused(models, symmetric):
    plain, = View().predict(models[0], [symmetric])
    fused, = predict_fused(models[:1], [symmetric], views=make_views((1, 1.25)), score_thr=0.0)
    assert len(fused.pred_instances) > 0 and fused.pred_instances.scores.max() <= 1
    assert fused.pred_instances.bboxes.isfinite().all() and fused.ori_shape == plain.ori_shape
    twice, = predict_fused(models[:1], [symmetric], views=make_views(), score_thr=0.0)
    corners = twice.pred_instances.bboxes[:, [0, 2]]
    assert (twice.pred_instances.scores.max() - plain.pred_instances.scores.max()).abs() < 1  # a score, not a sum
    assert corners.min() >= -64 and corners.max() <= 192


def test_probabilities_of_label_maps_are_averaged(models, symmetric):
    plain, = View().predict(models[1], [symmetric])
    plain = plain.seg_logits.data.softmax(0)
    merged, = predict_fused(models[1:], [symmetric], views=make_views())
    expected = (plain + plain.flip(-1)) / 2
    torch.testing.assert_close(merged.seg_logits.data, expected)
    assert merged.pred_sem_seg.data.equal(expected.argmax(0, keepdim=True))


def test_sizes_are_those_of_the_pipeline():
    config = Config(dict(test_pipeline=[
        dict(type='LoadImageFromFile'), dict(type='Resize', scale=(160, 96), keep_ratio=False),
        dict(type='PackDetInputs')]))
    image = np.zeros((50, 70, 3), np.uint8)
    assert ImagePipeline(config).pack(image)['inputs'].shape == (3, 96, 160)
    assert ImagePipeline(config, scale=1.25).pack(image)['inputs'].shape == (3, 128, 192)


def test_nothing_to_scale():
    config = Config(dict(test_pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]))
    with pytest.raises(ValueError, match='has 0 such steps'):
        ImagePipeline(config, scale=0.5)
    with pytest.raises(ValueError, match='expected numbers above 0'):
        make_views([])
