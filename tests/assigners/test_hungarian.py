"""Batched matching against matching image by image with loops."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import generalized_box_iou

from detrove.assigners import HungarianMatcher
from detrove.assigners.hungarian import MatchSet
from detrove.layers import BatchTargets
from detrove.ops.boxes import box_cxcywh_to_xyxy


def random_case(counts, layers=3, num_queries=9, num_classes=4):
    torch.manual_seed(0)
    batch, padded = len(counts), max(1, *counts)
    valid = torch.arange(padded)[None] < torch.tensor(counts)[:, None]
    boxes = torch.rand(batch, padded, 4) * 0.3 + 0.2
    targets = BatchTargets(torch.randint(0, num_classes, (batch, padded)), boxes, valid, counts)
    sets = [MatchSet(num_queries)] * layers
    rows = layers * num_queries
    return torch.randn(batch, rows, num_classes), torch.rand(batch, rows, 4), targets, sets


def slow_match(logits, boxes, labels, gt_boxes):
    """One image: list of (query, object), cost entry by entry."""
    cost = np.zeros((len(logits), len(labels)))
    for q in range(len(logits)):
        for g in range(len(labels)):
            p = logits[q, labels[g]].sigmoid().item()
            positive = 0.25 * (1 - p) ** 2 * -np.log(p + 1e-8)
            negative = 0.75 * p ** 2 * -np.log(1 - p + 1e-8)
            l1 = (boxes[q] - gt_boxes[g]).abs().sum().item()
            giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes[q])[None], box_cxcywh_to_xyxy(gt_boxes[g])[None]).item()
            cost[q, g] = 2 * (positive - negative) + 5 * l1 - 2 * giou
    return list(zip(*linear_sum_assignment(cost), strict=True))


@pytest.mark.parametrize('counts', [(3, 5), (0, 4), (0, 0), (12, 1)], ids=['some', 'one empty', 'all empty', 'crowd'])
def test_equals_slow_matching(counts):
    logits, boxes, targets, sets = random_case(counts)
    matched = HungarianMatcher()(logits, boxes, targets, sets)
    assert matched.shape == logits.shape[:2]
    for image, count in enumerate(counts):
        for start in range(0, 27, 9):
            rows = slice(start, start + 9)
            expected = torch.full((9,), -1)
            for query, gt in slow_match(logits[image, rows], boxes[image, rows], targets.labels[image, :count],
                                        targets.boxes_cxcywh[image, :count]):
                expected[query] = gt
            assert torch.equal(matched[image, rows], expected)


def test_one_to_many_equals_repeated_targets():
    """Sets of different sizes; the second one matches each object three times."""
    logits, boxes, targets, _ = random_case((3, 2))
    matched = HungarianMatcher()(logits, boxes, targets, [MatchSet(9), MatchSet(18, targets_per_object=3)])
    for image, count in enumerate(targets.counts):
        labels, gt_boxes = targets.labels[image, :count].repeat(3), targets.boxes_cxcywh[image, :count].repeat(3, 1)
        pairs = slow_match(logits[image, 9:], boxes[image, 9:], labels, gt_boxes)
        expected = torch.full((18,), -1)
        for query, gt in pairs:
            expected[query] = gt % count
        assert torch.equal(matched[image, 9:], expected)
        assert (matched[image, 9:] >= 0).sum() == 3 * count and (matched[image, :9] >= 0).sum() == count


def test_class_agnostic_queries_match_class_zero():
    logits, boxes, targets, sets = random_case((3, 5))
    agnostic = torch.arange(27) >= 18
    matched = HungarianMatcher()(logits, boxes, targets, sets, agnostic)
    relabelled = BatchTargets(torch.zeros_like(targets.labels), targets.boxes_cxcywh, targets.valid, targets.counts)
    assert torch.equal(matched[:, :18], HungarianMatcher()(logits, boxes, targets, sets)[:, :18])
    assert torch.equal(matched[:, 18:], HungarianMatcher()(logits, boxes, relabelled, sets)[:, 18:])


@pytest.mark.parametrize('which', ['class logits', 'boxes'])
def test_nan_is_named(which):
    logits, boxes, targets, sets = random_case((2, 3))
    (logits if which == 'class logits' else boxes)[1, 10] = float('nan')
    with pytest.raises(FloatingPointError, match=f'image 1 of the batch has non-finite {which}'):
        HungarianMatcher()(logits, boxes, targets, sets)


def test_one_copy_to_the_host(monkeypatch):
    copies = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda self: (copies.append(self.shape), original(self))[1])
    HungarianMatcher()(*random_case((3, 5, 0, 2)))
    assert len(copies) == 1
