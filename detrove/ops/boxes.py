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
    return paired_giou(boxes1_xyxy[..., :, None, :], boxes2_xyxy[..., None, :, :], eps)


def paired_iou(
    boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and union area of boxes1[i] with boxes2[i]. (..., 4), (..., 4) -> (...) twice; see
    `pairwise_iou`."""
    lower = torch.maximum(boxes1_xyxy[..., :2], boxes2_xyxy[..., :2])
    upper = torch.minimum(boxes1_xyxy[..., 2:], boxes2_xyxy[..., 2:])
    width, height = (upper - lower).clamp(min=0).unbind(-1)
    intersection = width * height
    union = box_area(boxes1_xyxy) + box_area(boxes2_xyxy) - intersection
    return _divide(intersection, union, eps), union


def paired_giou(boxes1_xyxy: torch.Tensor, boxes2_xyxy: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """Generalised IoU of boxes1[i] with boxes2[i]. (..., 4), (..., 4) -> (...); see `pairwise_giou`."""
    iou, union = paired_iou(boxes1_xyxy, boxes2_xyxy, eps)
    lower = torch.minimum(boxes1_xyxy[..., :2], boxes2_xyxy[..., :2])
    upper = torch.maximum(boxes1_xyxy[..., 2:], boxes2_xyxy[..., 2:])
    width, height = (upper - lower).clamp(min=0).unbind(-1)
    hull = width * height
    return iou - _divide(hull - union, hull, eps)


def inverse_sigmoid(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Logit of x, (...) clamped into [0, 1] -> (...), with p and 1 - p kept from falling below eps."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def _divide(numerator, denominator, eps):
    """numerator / (denominator + eps), 0 for 0 / 0; the inner `where` keeps that out of the backward, too."""
    denominator = denominator + eps if eps else denominator
    is_empty = denominator == 0
    return torch.where(is_empty, 0, numerator / torch.where(is_empty, 1, denominator))
