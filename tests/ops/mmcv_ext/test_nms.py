"""NMS family through mmcv.ops: against loops, and values from mmcv's tests/test_ops/test_nms.py."""

import math

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, bbox_overlaps, line_nms, nms, nms_match, soft_nms

# Input and expected output of mmcv's own test.
BOXES = torch.tensor([[6.0, 3, 8, 7], [3, 6, 9, 11], [3, 7, 10, 12], [1, 4, 13, 7]])
SCORES = torch.tensor([0.6, 0.9, 0.7, 0.2])


def random_boxes(n, seed, side=100.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * side * 0.6
    size = torch.rand(n, 2, generator=generator) * side * 0.4
    # Coarse scores: many are equal, so the order of ties is tested, too.
    scores = torch.randint(1, 40, (n,), generator=generator) / 40
    return torch.cat((corner, corner + size), 1), scores


def iou_by_hand(a, b, offset=0):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    offset = np.float32(offset)
    w = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]) + offset)
    h = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]) + offset)
    inter = w * h
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return inter / (area_a + area_b - inter)


def nms_by_loops(boxes, scores, threshold, offset):
    kept = []
    for i in scores.sort(descending=True, stable=True).indices.tolist():
        if all(iou_by_hand(boxes[j], boxes[i], offset) <= np.float32(threshold) for j in kept):
            kept.append(i)
    return kept


def soft_nms_by_loops(boxes, scores, threshold, sigma, min_score, method, offset):
    """mmcv's procedure: a dropped box is overwritten by the last one, which decides later ties."""
    entries = [[i, boxes[i], np.float32(scores[i])] for i in range(len(boxes))]
    i = 0
    while i < len(entries):
        best = max(range(i, len(entries)), key=lambda k: (entries[k][2], -k))
        entries[i], entries[best] = entries[best], entries[i]
        k = i + 1
        while k < len(entries):
            iou = iou_by_hand(entries[i][1], entries[k][1], offset)
            if method == 'gaussian':
                factor = np.float32(math.exp(-(iou * iou) / np.float32(sigma)))
            elif iou >= np.float32(threshold):
                factor = np.float32(0) if method == 'naive' else 1 - iou
            else:
                factor = np.float32(1)
            entries[k][2] = entries[k][2] * factor
            if entries[k][2] < min_score:
                last = entries.pop()
                if k < len(entries):
                    entries[k] = last
            else:
                k += 1
        i += 1
    return [e[0] for e in entries], [float(e[2]) for e in entries]


def test_nms_published_values():
    dets, inds = nms(BOXES, SCORES, iou_threshold=0.3, offset=0)
    assert inds.tolist() == [1, 0, 3]
    torch.testing.assert_close(dets, torch.cat((BOXES, SCORES[:, None]), 1)[[1, 0, 3]])


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.3, 0.6])
def test_nms_equals_loops(threshold, offset):
    for seed in range(3):
        boxes, scores = random_boxes(60, seed)
        _, inds = nms(boxes, scores, threshold, offset=offset)
        assert inds.tolist() == nms_by_loops(boxes, scores, threshold, offset)


@pytest.mark.parametrize('threshold', [0.1, 0.2, 0.4, 0.6, 0.8])
def test_nms_keeps_a_pair_exactly_at_the_threshold(threshold):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10 * threshold]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold)[1].tolist() == [0, 1]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_nms_other_dtypes(dtype):
    dets, inds = nms(BOXES.to(dtype), SCORES.to(dtype), iou_threshold=0.3)
    assert inds.tolist() == [1, 0, 3]
    assert dets.dtype == dtype


def test_nms_without_boxes():
    dets, inds = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5) and inds.shape == (0,) and inds.dtype == torch.int64


def test_batched_nms_equals_nms_per_class():
    boxes, scores = random_boxes(80, seed=5)
    classes = torch.arange(80) % 3
    _, kept = batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.5))
    expected = []
    for c in range(3):
        members = (classes == c).nonzero()[:, 0]
        expected += members[nms_by_loops(boxes[members], scores[members], 0.5, 0)].tolist()
    assert sorted(kept.tolist()) == sorted(expected)


@pytest.mark.parametrize(
    'method, scores, inds',
    [
        ('linear', [0.9, 0.6, 0.29024392, 0.2], [1, 0, 2, 3]),
        ('gaussian', [0.9, 0.59630775, 0.35275510, 0.18650459], [1, 0, 2, 3]),
        ('naive', [0.9, 0.6, 0.2], [1, 0, 3]),
    ],
)
def test_soft_nms_published_values(method, scores, inds):
    dets, kept = soft_nms(BOXES, SCORES, iou_threshold=0.3, sigma=0.5, min_score=0.01, method=method)
    assert kept.tolist() == inds
    torch.testing.assert_close(dets, torch.cat((BOXES[inds], torch.tensor(scores)[:, None]), 1))


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('min_score', [1e-3, 0.2])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms_equals_loops(method, min_score, offset):
    for seed in range(3):
        boxes, scores = random_boxes(40, seed)
        dets, inds = soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
        expected_inds, expected_scores = soft_nms_by_loops(
            boxes.numpy(), scores.numpy(), 0.3, 0.5, min_score, method, offset
        )
        assert inds.tolist() == expected_inds
        torch.testing.assert_close(dets[:, 4], torch.tensor(expected_scores))
        torch.testing.assert_close(dets[:, :4], boxes[inds])


def test_soft_nms_leaves_its_input_alone():
    boxes, scores = BOXES.clone(), SCORES.clone()
    soft_nms(boxes, scores, 0.3, method='linear')
    assert torch.equal(boxes, BOXES) and torch.equal(scores, SCORES)


def test_nms_match_groups():
    # As in mmcv's own test.
    dets = torch.tensor(
        [
            [49.1, 32.4, 51.0, 35.9, 0.9],
            [49.3, 32.9, 51.0, 35.3, 0.9],
            [35.3, 11.5, 39.9, 14.5, 0.4],
            [35.2, 11.7, 39.7, 15.7, 0.3],
        ]
    )
    assert [group.tolist() for group in nms_match(dets, 0.6)] == [[0, 1], [2, 3]]
    boxes, scores = random_boxes(50, seed=7)
    groups = nms_match(torch.cat((boxes, scores[:, None]), 1), 0.4)
    assert sorted(i for group in groups for i in group.tolist()) == list(range(50))
    assert [int(group[0]) for group in groups] == nms_by_loops(boxes, scores, 0.4, 0)
    for group in groups:
        assert all(iou_by_hand(boxes[group[0]], boxes[i]) >= 0.4 for i in group[1:])


def make_lanes(n, seed, offsets=72):
    generator = torch.Generator().manual_seed(seed)
    lanes = torch.zeros(n, 5 + offsets)
    lanes[:, 2] = torch.rand(n, generator=generator) * 0.5
    lanes[:, 4] = torch.randint(10, 60, (n,), generator=generator)
    base = torch.randint(0, 6, (n, 1), generator=generator) * 60.0
    lanes[:, 5:] = base + torch.randn(n, offsets, generator=generator) * 20
    return lanes, torch.rand(n, generator=generator)


def lanes_match_by_hand(a, b, threshold):
    strips = len(a) - 6
    start_a, start_b = int(a[2] * strips + 0.5), int(b[2] * strips + 0.5)
    start = max(start_a, start_b)
    end = min(start_a + int(a[4]) - 1, start_b + int(b[4]) - 1, strips)
    if end < start:
        return False
    distance = sum(abs(float(a[5 + i] - b[5 + i])) for i in range(start, end + 1))
    return distance < threshold * (end - start + 1)


def test_line_nms_equals_loops():
    lanes, scores = make_lanes(24, seed=0)
    keep, num_kept, parent = line_nms(lanes, scores, overlap=30.0, top_k=24)
    expected = []
    for i in scores.argsort(descending=True).tolist():
        if not any(lanes_match_by_hand(lanes[j], lanes[i], 30.0) for j in expected):
            expected.append(i)
    assert 3 < len(expected) < 24
    assert keep[:num_kept].tolist() == expected and not keep[num_kept:].any()
    assert (parent > 0).all()
    assert parent[keep[:num_kept]].tolist() == list(range(1, len(expected) + 1))
    keep, num_kept, _ = line_nms(lanes, scores, overlap=30.0, top_k=2)
    assert num_kept == 2 and keep[:2].tolist() == expected[:2]


def test_bbox_overlaps_published_values():
    # As in mmcv's tests/test_ops/test_bbox.py.
    first = torch.tensor([[1.0, 1, 3, 4], [2, 2, 3, 4], [7, 7, 8, 8]])
    second = torch.tensor([[0.0, 2, 2, 5], [2, 1, 3, 3]])
    torch.testing.assert_close(bbox_overlaps(first, second, offset=1), torch.tensor([[1 / 3, 0.5], [0.2, 0.5], [0, 0]]))
    torch.testing.assert_close(bbox_overlaps(first[:2], second, aligned=True, offset=1), torch.tensor([1 / 3, 0.5]))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_bbox_overlaps_equals_single_boxes(dtype):
    (first, _), (second, _) = random_boxes(6, seed=1), random_boxes(5, seed=2)
    first, second = first.to(dtype), second.to(dtype)
    expected = torch.tensor([[iou_by_hand(a, b) for b in second.float()] for a in first.float()])
    torch.testing.assert_close(bbox_overlaps(first, second).float(), expected.to(dtype).float())
    iof = bbox_overlaps(first, second, mode='iof').float()
    first, second = first.float(), second.float()
    for i, j in ((0, 0), (3, 2), (5, 4)):
        wh = torch.minimum(first[i, 2:], second[j, 2:]) - torch.maximum(first[i, :2], second[j, :2])
        expected = wh.clamp(min=0).prod() / (first[i, 2:] - first[i, :2]).prod()
        torch.testing.assert_close(iof[i, j], expected.to(dtype).float())
