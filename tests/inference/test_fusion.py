"""Weighted boxes fusion against the authors' package, and the ensemble built on it."""

import pytest
import torch
from mmengine.structures import InstanceData

from detrove.inference import fuse_boxes

# Three models: boxes, scores, labels.
SETS = [
    ([[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9], [0.1, 0.6, 0.3, 0.9]], [0.9, 0.6, 0.3], [0, 1, 0]),
    ([[0.12, 0.1, 0.52, 0.5], [0.11, 0.12, 0.5, 0.52], [0.62, 0.6, 0.9, 0.88]], [0.8, 0.4, 0.7], [0, 0, 0]),
    ([[0.1, 0.62, 0.3, 0.9]], [0.5], [0]),
]
# What ensemble-boxes 1.0.9 makes of them: weighted_boxes_fusion(boxes, scores, labels, weights=[2, 1, 1], iou_thr=0.55)
EXPECTED = [
    (0, 0.75, [0.1066667, 0.1026667, 0.5053334, 0.5026667]),
    (1, 0.3, [0.6, 0.6, 0.9, 0.9]),
    (0, 0.275, [0.1, 0.6090909, 0.3, 0.9]),
    (0, 0.175, [0.62, 0.6, 0.9, 0.88]),
]


def as_instances(boxes, scores, labels, scale=1.0):
    return InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4) * scale, scores=torch.tensor(scores),
                        labels=torch.tensor(labels, dtype=torch.long))


@pytest.mark.parametrize('scale', [1.0, 640.0])
def test_same_as_the_authors_package(scale):
    fused = fuse_boxes([as_instances(*one, scale=scale) for one in SETS], weights=[2, 1, 1])
    labels, scores, boxes = zip(*EXPECTED, strict=True)
    assert fused.labels.tolist() == list(labels)
    torch.testing.assert_close(fused.scores, torch.tensor(scores))
    torch.testing.assert_close(fused.bboxes, torch.tensor(boxes) * scale)


def test_one_set_keeps_what_does_not_overlap():
    one = as_instances([[0.0, 0, 10, 10], [20, 20, 30, 30]], [0.2, 0.8], [0, 0])
    fused = fuse_boxes([one])
    assert fused.scores.tolist() == pytest.approx([0.8, 0.2])
    assert fused.bboxes.equal(one.bboxes.flip(0))


def test_equal_sets_change_nothing():
    one = as_instances([[0.0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8], [0, 1])
    fused = fuse_boxes([one, one, one])
    torch.testing.assert_close(fused.bboxes, one.bboxes)
    torch.testing.assert_close(fused.scores, one.scores)


def test_nothing_found():
    nothing = as_instances([], [], [])
    assert len(fuse_boxes([nothing, nothing])) == 0


def test_boxes_with_a_score_of_zero_or_without_area():
    fused = fuse_boxes([as_instances([[1.0, 1, 5, 5], [7, 7, 7, 9]], [0.0, 0.5], [0, 0])] * 2)
    assert fused.bboxes.isfinite().all() and fused.scores.isfinite().all()


@pytest.mark.parametrize('sets, weights', [(0, None), (2, [1]), (2, [1, 0])])
def test_wrong_weights(sets, weights):
    with pytest.raises(ValueError, match='expected one weight above 0 for each'):
        fuse_boxes([as_instances([[0.0, 0, 1, 1]], [0.5], [0])] * sets, weights=weights)
