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


def rows(x):
    """(L, B, Q, ...) -> (B, L * Q, ...), as the criterion wants it."""
    return x.transpose(0, 1).flatten(1, 2)


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
    losses = criterion(rows(logits), rows(boxes), rows(matched), targets)
    losses = {name: value.view(BATCH, LAYERS, QUERIES).sum((0, 2)) / 5 for name, value in losses.items()}
    expected = [slow_losses(logits[i], boxes[i], matched[i], targets, 5.0) for i in range(LAYERS)]
    for name, values in zip(('loss_cls', 'loss_bbox', 'loss_giou'), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(losses[name], torch.stack(values))
    gradients = torch.autograd.grad(sum(x.sum() for x in losses.values()), (logits, boxes))
    expected_gradients = torch.autograd.grad(sum(x for values in expected for x in values), (logits, boxes))
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


def test_class_agnostic_queries_learn_class_zero(case):
    logits, boxes, matched, targets = case
    criterion = DETRCriterion(loss_class=dict(type='QueryFocalLoss'))
    relabelled = BatchTargets(torch.zeros_like(targets.labels), targets.boxes_cxcywh, targets.valid, targets.counts)
    agnostic = torch.arange(LAYERS * QUERIES) >= QUERIES
    mixed = criterion(rows(logits), rows(boxes), rows(matched), targets, agnostic)['loss_cls']
    plain, zero = (criterion(rows(logits), rows(boxes), rows(matched), x)['loss_cls'] for x in (targets, relabelled))
    assert torch.equal(mixed, torch.where(agnostic, zero, plain)) and not torch.equal(plain, zero)


@pytest.mark.parametrize('quality', ['iou', 'giou'])
def test_quality_told_to_the_class_loss(case, quality, monkeypatch):
    logits, boxes, matched, targets = case
    criterion = DETRCriterion(loss_class=dict(type='QueryFocalLoss'), quality=quality)
    told = []
    forward = criterion.loss_class.forward
    monkeypatch.setattr(criterion.loss_class, 'forward', lambda *args: (told.append(args[3]), forward(*args))[1])
    criterion(rows(logits), rows(boxes), rows(matched), targets)
    image, query = (rows(matched) >= 0).nonzero()[0].tolist()
    pair = rows(boxes)[image, query], targets.boxes_cxcywh[image, rows(matched)[image, query]]
    expected = dict(iou=box_iou, giou=generalized_box_iou)[quality](*(box_cxcywh_to_xyxy(box)[None] for box in pair))
    torch.testing.assert_close(told[0][image, query], expected.squeeze())
    assert not told[0].requires_grad


def test_without_objects_only_the_class_loss_is_positive(case):
    logits, boxes, _, targets = case
    criterion = DETRCriterion(loss_class=dict(type='QueryVarifocalLoss'))
    losses = criterion(rows(logits), rows(boxes), torch.full((BATCH, LAYERS * QUERIES), -1), targets)
    assert (losses['loss_cls'] > 0).all()
    assert not losses['loss_bbox'].any() and not losses['loss_giou'].any()
    sum(x.sum() for x in losses.values()).backward()
    assert boxes.grad is not None and not boxes.grad.any()  # connected to the graph, as on every rank


def test_degenerate_boxes_stay_finite(case):
    logits, _, matched, targets = case
    boxes = torch.zeros(LAYERS, BATCH, QUERIES, 4, requires_grad=True)
    targets = BatchTargets(targets.labels, torch.zeros_like(targets.boxes_cxcywh), targets.valid, targets.counts)
    criterion = DETRCriterion(loss_class=dict(type='QueryVarifocalLoss'))
    losses = criterion(rows(logits), rows(boxes), rows(matched), targets)
    sum(x.sum() for x in losses.values()).backward()
    assert torch.isfinite(boxes.grad).all() and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize('quality', ['iou', 'giou'])
def test_both_ways_to_compute_matched_boxes(case, quality):
    """Matched queries alone, as on a CPU, and all queries, as where asking for their number would stop the device."""
    _, boxes, matched, targets = case
    criterion = DETRCriterion(loss_class=dict(type='QueryFocalLoss'), quality=quality)
    arguments = rows(boxes), rows(matched) >= 0, rows(matched).clamp(min=0), targets
    compact, dense = criterion._losses_of_matched(*arguments), criterion._losses_of_all(*arguments)
    for one, other in zip(compact, dense, strict=True):
        torch.testing.assert_close(one, other)
        assert not one[rows(matched) < 0].any()
    for one, other in zip(compact[:2], dense[:2], strict=True):
        gradients = [torch.autograd.grad(x.square().sum(), boxes, retain_graph=True)[0] for x in (one, other)]
        torch.testing.assert_close(*gradients)
