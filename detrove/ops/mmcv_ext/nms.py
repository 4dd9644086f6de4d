"""Non-maximum suppression in its four forms, and box overlaps, with mmcv's signatures and tie rules."""

import numpy as np
import torch
import torchvision

from .precision import full_precision


def nms(boxes, scores, iou_threshold, offset):
    """Indices kept, by descending score. boxes (N, 4) xyxy, scores (N,); offset 1: x2, y2 are inclusive."""
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    boxes, scores = full_precision(boxes, scores)
    if offset:
        boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), 1)
    # mmcv compares in fp32, torchvision in double: they must agree on pairs exactly at the threshold.
    return torchvision.ops.nms(boxes, scores, float(np.float32(iou_threshold)))


def softnms(boxes, scores, dets, iou_threshold, sigma, min_score, method, offset):
    """Soft-NMS (arXiv:1704.04503) on the CPU. Fills rows [0, K) of dets (N, 5), returns the K indices.

    method 0 discards overlapping boxes (plain NMS), 1 lowers their scores linearly, 2 by a Gaussian. The
    order of equal scores depends on how discarded boxes are replaced by the last one in place, so that is
    kept, too.
    """
    boxes = boxes.float().numpy()
    scores = scores.float().numpy().copy()
    wh = boxes[:, 2:] - boxes[:, :2] + np.float32(offset)
    areas = wh[:, 0] * wh[:, 1]
    inds = np.arange(len(boxes))  # position -> original index
    num = len(boxes)
    i = 0
    while i < num:
        best = i if np.isnan(scores[inds[i]]) else i + int(np.nanargmax(scores[inds[i:num]]))
        inds[[i, best]] = inds[[best, i]]
        top, rest = inds[i], inds[i + 1 : num]
        scores[rest] *= _soft_weights(_ious(boxes, areas, top, rest, offset), iou_threshold, sigma, method)
        pos = i + 1
        if np.any(scores[rest] < min_score):
            while pos < num:
                if scores[inds[pos]] < min_score:
                    num -= 1
                    inds[pos] = inds[num]
                else:
                    pos += 1
        i += 1
    kept = torch.from_numpy(inds[:num].copy())
    dets[:num, :4] = torch.from_numpy(boxes)[kept].to(dets.dtype)
    dets[:num, 4] = torch.from_numpy(scores)[kept].to(dets.dtype)
    return kept


def nms_match(dets, iou_threshold):
    """Groups of box indices on the CPU: each kept box followed by those it suppresses. dets is (N, 5).

    A pair at exactly the threshold is a match here (>=), unlike in `nms` (>).
    """
    dets = dets.float()
    boxes = dets[:, :4].numpy()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = dets[:, 4].sort(descending=True, stable=True).indices.numpy()
    groups = []
    while len(order):
        top, rest = order[0], order[1:]
        is_match = _ious(boxes, areas, top, rest, 0) >= np.float32(iou_threshold)
        groups.append([int(top), *rest[is_match].tolist()])
        order = rest[~is_match]
    return groups


def line_nms_forward(boxes, scores, overlap, top_k):
    """NMS of lanes (CLRNet, arXiv:2203.10350): lanes match whose mean distance in x is below `overlap`.

    boxes is (N, 5 + n): column 2 the start as a fraction of the n - 1 strips, column 4 the length in strips,
    then x at n heights. Returns keep (N,), zero after the kept ones, their number (0-dim) and, per lane, 1 +
    the position in keep of the last kept lane that covers it (0: none). onedl-mmcv's kernel takes one lane of
    each pair by its place in the input rather than by score; this one takes both by score, as CLRNet's does.
    """
    lanes = boxes.float().cpu().numpy()
    order = scores.sort(descending=True, stable=True).indices.cpu().numpy()
    offsets = lanes.shape[1] - 5
    start = np.trunc(lanes[:, 2] * np.float32(offsets - 1) + np.float32(0.5)).astype(np.int64)
    end = start + np.trunc(lanes[:, 4]).astype(np.int64) - 1
    keep, parent = np.zeros(len(lanes), np.int64), np.zeros(len(lanes), np.int64)
    is_removed = np.zeros(len(lanes), bool)
    num_kept = 0
    for position, lane in enumerate(order):
        if num_kept == top_k:
            break
        if is_removed[lane]:
            continue
        rest = order[position + 1 :]
        first = np.maximum(start[lane], start[rest])
        last = np.minimum(np.minimum(end[lane], end[rest]), offsets - 1)
        steps = np.arange(offsets)
        is_shared = (steps >= first[:, None]) & (steps <= last[:, None])
        distance = (np.abs(lanes[rest, 5:] - lanes[lane, 5:]) * is_shared).sum(1)
        is_match = (last >= first) & (first >= 0) & (distance < np.float32(overlap) * (last - first + 1))
        keep[num_kept] = lane
        num_kept += 1
        is_removed[rest[is_match]] = True
        parent[rest[is_match]] = parent[lane] = num_kept
    as_tensor = torch.as_tensor
    return [as_tensor(values, device=boxes.device) for values in (keep, np.int64(num_kept), parent)]


def bbox_overlaps(bboxes1, bboxes2, ious, mode, aligned, offset):
    """Fill ious (M, N), or (N,) if aligned, with IoU (mode 0) or intersection over the first box (mode 1)."""
    first, second = full_precision(bboxes1, bboxes2)
    if not aligned:
        first = first[:, None]
    wh = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    overlap = (wh + offset).clamp(min=0).prod(-1)
    base = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == 0:
        base = base + (second[..., 2:] - second[..., :2] + offset).prod(-1) - overlap
    ious.copy_(overlap / base.clamp(min=offset))


def _ious(boxes, areas, top, rest, offset):
    wh = np.minimum(boxes[top, 2:], boxes[rest, 2:]) - np.maximum(boxes[top, :2], boxes[rest, :2])
    wh = np.maximum(wh + np.float32(offset), 0)
    overlap = wh[:, 0] * wh[:, 1]
    with np.errstate(invalid='ignore', divide='ignore'):  # without area: NaN, which no threshold matches
        return overlap / (areas[top] + areas[rest] - overlap)


def _soft_weights(ious, iou_threshold, sigma, method):
    is_overlapping = ious >= np.float32(iou_threshold)
    if method == 0:
        return np.where(is_overlapping, np.float32(0), np.float32(1))
    if method == 1:
        return np.where(is_overlapping, 1 - ious, np.float32(1))
    return np.exp(-(ious * ious) / np.float32(sigma))
