"""The dense criterion against a loop over matched pairs."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import box_iou, generalized_box_iou

from detrove.layers import BatchTargets
from detrove.losses import DETRCriterion
from detrove.ops.boxes import box_cxcywh_to_xyxy

LAYERS, BATCH, QUERIES, CLASSES = 2, 3, 6, 4


@pytest.fixture
def case():
    torch.manual_seed(0)
    counts = (2, 0, 3)
    targets = BatchTargets(torch.randint(0, CLASSES, (BATCH, 3)), torch.rand(BATCH, 3, 4) * 0.3 + 0.2,
                           torch.arange(3)[None] < torch.tensor(counts)[:, None], counts)
    matched = torch.full((LAYERS, BATCH, QUERIES), -1)
    for layer in range(LAYERS):
        for image, count in enumerate(counts):
            matched[layer, image, torch.randperm(QUERIES)[:count]] = torch.arange(count)
    logits = torch.randn(LAYERS, BATCH, QUERIES, CLASSES, requires_grad=True)
    boxes = (torch.rand(LAYERS, BATCH, QUERIES, 4) * 0.3 + 0.2).requires_grad_()
    return logits, boxes, matched, targets


def slow_losses(logits, boxes, matched, targets, normalizer):
    """One layer: varifocal (alpha 0.75, gamma 2), L1 and GIoU, query by query."""
    cls = l1 = giou = torch.zeros(())
    for image in range(BATCH):
        for query in range(QUERIES):
            target, weight = torch.zeros(CLASSES), 0.75 * logits[image, query].detach().sigmoid() ** 2
            gt = matched[image, query]
            if gt >= 0:
                box, gt_box = boxes[image, query], targets.boxes_cxcywh[image, gt]
                xyxy, gt_xyxy = box_cxcywh_to_xyxy(box)[None], box_cxcywh_to_xyxy(gt_box)[None]
                label = targets.labels[image, gt]
                target[label] = weight[label] = box_iou(xyxy, gt_xyxy).detach()
                l1 = l1 + (box - gt_box).abs().sum()
                giou = giou + 1 - generalized_box_iou(xyxy, gt_xyxy).squeeze()
            bce = F.binary_cross_entropy_with_logits(logits[image, query], target, reduction='none')
            cls = cls + (bce * weight).sum()
    return cls / normalizer, 5 * l1 / normalizer, 2 * giou / normalizer


def test_equals_the_loop(case):
    logits, boxes, matched, targets = case
    criterion = DETRCriterion(loss_class=dict(type='QueryVarifocalLoss'))
    losses = criterion(logits, boxes, matched, targets, torch.tensor(5.0))
    expected = [slow_losses(logits[i], boxes[i], matched[i], targets, 5.0) for i in range(LAYERS)]
    for name, values in zip(('loss_cls', 'loss_bbox', 'loss_giou'), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(losses[name], torch.stack(values))
    gradients = torch.autograd.grad(sum(x.sum() for x in losses.values()), (logits, boxes))
    expected_gradients = torch.autograd.grad(sum(x for values in expected for x in values), (logits, boxes))
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


def test_one_matching_for_all_layers(case):
    logits, boxes, matched, targets = case
    criterion = DETRCriterion(loss_class=dict(type='QueryVarifocalLoss'))
    shared = criterion(logits, boxes, matched[:1], targets, torch.tensor(5.0))
    repeated = criterion(logits, boxes, matched[:1].repeat(LAYERS, 1, 1), targets, torch.tensor(5.0))
    assert all(torch.equal(shared[name], repeated[name]) for name in shared)


def test_without_objects_only_the_class_loss_is_positive(case):
    logits, boxes, _, targets = case
    criterion = DETRCriterion(loss_class=dict(type='QueryVarifocalLoss'))
    losses = criterion(logits, boxes, torch.full((1, BATCH, QUERIES), -1), targets, torch.tensor(1.0))
    assert (losses['loss_cls'] > 0).all()
    assert not losses['loss_bbox'].any() and not losses['loss_giou'].any()
    sum(x.sum() for x in losses.values()).backward()
    assert boxes.grad is not None and not boxes.grad.any()  # connected to the graph, as on every rank


def test_degenerate_boxes_stay_finite(case):
    logits, _, matched, targets = case
    boxes = torch.zeros(LAYERS, BATCH, QUERIES, 4, requires_grad=True)
    targets = BatchTargets(targets.labels, torch.zeros_like(targets.boxes_cxcywh), targets.valid, targets.counts)
    losses = DETRCriterion(loss_class=dict(type='QueryVarifocalLoss'))(logits, boxes, matched, targets,
                                                                       torch.tensor(5.0))
    sum(x.sum() for x in losses.values()).backward()
    assert torch.isfinite(boxes.grad).all() and torch.isfinite(logits.grad).all()
