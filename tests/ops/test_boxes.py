"""Box functions against plain arithmetic on single boxes."""

import itertools
import math

import pytest
import torch

from detrove.ops.boxes import (
    box_area,
    box_cxcywh_to_xyxy,
    box_xyxy_to_cxcywh,
    inverse_sigmoid,
    paired_giou,
    paired_iou,
    pairwise_giou,
    pairwise_iou,
)


def random_boxes(*shape, seed):
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat((corners.amin(-2), corners.amax(-2)), -1)


def overlap_by_hand(a, b, eps=0.0):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / (union + eps), union, inter / (union + eps) - (hull - union) / (hull + eps)


def test_formats_are_inverse():
    boxes_xyxy = random_boxes(2, 5, seed=0)
    torch.testing.assert_close(box_cxcywh_to_xyxy(box_xyxy_to_cxcywh(boxes_xyxy)), boxes_xyxy)
    assert box_cxcywh_to_xyxy(torch.tensor([0.5, 0.5, 0.2, 0.4])).tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7])
    assert box_area(torch.tensor([1.0, 2.0, 4.0, 4.0])) == 6


@pytest.mark.parametrize('eps', [0.0, 1e-2])
def test_pairwise_and_paired_equal_single_boxes(eps):
    first, second = random_boxes(2, 4, seed=1), random_boxes(2, 3, seed=2)
    iou, union = pairwise_iou(first, second, eps)
    giou = pairwise_giou(first, second, eps)
    assert iou.shape == union.shape == giou.shape == (2, 4, 3)
    for b, i, j in itertools.product(range(2), range(4), range(3)):
        expected = overlap_by_hand(first[b, i].tolist(), second[b, j].tolist(), eps)
        assert (iou[b, i, j], union[b, i, j], giou[b, i, j]) == pytest.approx(expected, abs=1e-12)

    paired, paired_union = paired_iou(first[:, :3], second, eps)
    torch.testing.assert_close(paired, iou[:, :3].diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(paired_union, union[:, :3].diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(paired_giou(first[:, :3], second, eps), giou[:, :3].diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize('eps', [0.0, 1e-2])
def test_giou_without_gradient_is_the_same(eps):
    first, second = random_boxes(2, 4, seed=1), random_boxes(2, 3, seed=2)
    first[:, 0] = second[:, 0] = 0.5  # without area, on top of each other
    expected = pairwise_giou(first, second, eps)
    with torch.no_grad():
        torch.testing.assert_close(pairwise_giou(first, second, eps), expected)
        assert pairwise_giou(first[:, :0], second, eps).shape == (2, 0, 3)


def test_no_boxes():
    boxes = torch.zeros(0, 4, requires_grad=True)
    assert pairwise_iou(boxes, random_boxes(3, seed=0))[0].shape == (0, 3)
    assert pairwise_giou(boxes, boxes).shape == (0, 0)
    paired_giou(boxes, boxes).sum().backward()


def test_boxes_without_area_have_no_overlap_and_finite_gradients():
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]], requires_grad=True)
    for function in (paired_giou, lambda a, b: paired_iou(a, b)[0]):
        out = function(point, point.detach())
        assert out.item() == 0
        (grad,) = torch.autograd.grad(out.sum(), point)
        assert grad.isfinite().all()


def test_gradcheck():
    first, second = (random_boxes(3, seed=s).requires_grad_() for s in (3, 4))
    assert torch.autograd.gradcheck(pairwise_giou, (first, second))
    assert torch.autograd.gradcheck(lambda a, b: pairwise_iou(a, b)[0], (first, second))


def test_inverse_sigmoid():
    x = torch.tensor([-0.5, 0.0, 1e-7, 0.25, 1.0, 2.0], dtype=torch.float64)
    limit = math.log(1e-5)
    expected = torch.tensor([limit, limit, limit, math.log(1 / 3), -limit, -limit], dtype=torch.float64)
    torch.testing.assert_close(inverse_sigmoid(x), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(inverse_sigmoid(torch.tensor(0.0), eps=1e-3), torch.tensor(math.log(1e-3)))
