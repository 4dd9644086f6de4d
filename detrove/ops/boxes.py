"""Box formats and overlaps. Boxes are (..., 4) tensors; nothing here reads data back to the host.

Two boxes without area have no union; the official DETR code divides 0 by 0 there and gets NaN. Here their IoU
is 0, with finite gradients.
"""

import torch


def box_cxcywh_to_xyxy(boxes_cxcywh: torch.Tensor) -> torch.Tensor:
    """(..., 4) centre x, centre y, width, height -> (..., 4) left, top, right, bottom, in the same unit."""
    center, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat((center - 0.5 * size, center + 0.5 * size), -1)


def box_xyxy_to_cxcywh(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """(..., 4) left, top, right, bottom -> (..., 4) centre x, centre y, width, height, in the same unit."""
    lower, upper = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat(((lower + upper) / 2, upper - lower), -1)


def box_area(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """(..., 4) -> (...). Negative for boxes with exactly one side reversed."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def pairwise_iou(
    boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and union area of every pair. (..., N, 4), (..., M, 4) -> (..., N, M) twice; leading dims
    broadcast.

    eps is added to the denominator, as some papers do (1e-6); the official DETR code adds nothing.
    """
    return paired_iou(boxes1_xyxy[..., :, None, :], boxes2_xyxy[..., None, :, :], eps)


def pairwise_giou(boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """Generalised IoU (arXiv:1902.09630) of every pair, in [-1, 1]. (..., N, 4), (..., M, 4) -> (..., N,
    M)."""
    boxes1_xyxy, boxes2_xyxy = boxes1_xyxy[..., :, None, :], boxes2_xyxy[..., None, :, :]
    giou = paired_giou if torch.is_grad_enabled() else _giou_in_place
    return giou(boxes1_xyxy, boxes2_xyxy, eps)


def paired_iou(
    boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and union area of boxes1[i] with boxes2[i]. (..., 4), (..., 4) -> (...) twice; see
    `pairwise_iou`."""
    left1, top1, right1, bottom1 = boxes1_xyxy.unbind(-1)
    left2, top2, right2, bottom2 = boxes2_xyxy.unbind(-1)
    width = (torch.minimum(right1, right2) - torch.maximum(left1, left2)).clamp(min=0)
    height = (torch.minimum(bottom1, bottom2) - torch.maximum(top1, top2)).clamp(min=0)
    intersection = width * height
    union = box_area(boxes1_xyxy) + box_area(boxes2_xyxy) - intersection
    return _divide(intersection, union, eps), union


def paired_giou(boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """Generalised IoU of boxes1[i] with boxes2[i]. (..., 4), (..., 4) -> (...); see `pairwise_giou`."""
    return paired_iou_and_giou(boxes1_xyxy, boxes2_xyxy, eps)[1]


def paired_iou_and_giou(
    boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and generalised IoU of boxes1[i] with boxes2[i]. (..., 4), (..., 4) -> (...) twice."""
    iou, union = paired_iou(boxes1_xyxy, boxes2_xyxy, eps)
    left1, top1, right1, bottom1 = boxes1_xyxy.unbind(-1)
    left2, top2, right2, bottom2 = boxes2_xyxy.unbind(-1)
    width = (torch.maximum(right1, right2) - torch.minimum(left1, left2)).clamp(min=0)
    height = (torch.maximum(bottom1, bottom2) - torch.minimum(top1, top2)).clamp(min=0)
    hull = width * height
    return iou, iou - _divide(hull - union, hull, eps)


def _giou_in_place(boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float) -> torch.Tensor:
    """`paired_giou` up to rounding, without gradients, in half the passes over memory."""
    inner, outer = [], []
    for low, high in ((0, 2), (1, 3)):
        (low1, high1), (low2, high2) = ((boxes[..., low], boxes[..., high]) for boxes in (boxes1_xyxy, boxes2_xyxy))
        side = torch.minimum(high1, high2).sub_(torch.maximum(low1, low2))
        outer.append(((high1 - low1) + (high2 - low2)).sub_(side))  # least + largest = the sum of both
        inner.append(side.clamp_(min=0))
    intersection, hull = inner[0].mul_(inner[1]), outer[0].mul_(outer[1])
    union = (box_area(boxes1_xyxy) + box_area(boxes2_xyxy)).sub_(intersection)
    empty = (hull - union).div_(hull.add_(eps).clamp_(min=torch.finfo(hull.dtype).tiny))
    return intersection.div_(union.add_(eps).clamp_(min=torch.finfo(hull.dtype).tiny)).sub_(empty)


def inverse_sigmoid(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Logit of x, (...) clamped into [0, 1] -> (...), with p and 1 - p kept from falling below eps."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def _divide(numerator, denominator, eps):
    """numerator / (denominator + eps), 0 for 0 / 0, which is kept out of the backward, too."""
    denominator = denominator + eps if eps else denominator
    exists = denominator.detach().sign().square()  # 1 or 0, as numbers: masks take five times as long on a CPU
    return numerator / (denominator + (1 - exists)) * exists
