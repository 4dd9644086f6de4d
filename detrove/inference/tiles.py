"""Large images in overlapping tiles: where these lie, and how their detections become those of the image.

A tile sees objects at its border in part. Two tiles agree on an object where both see it: clipped to the part of the
image that they share, their boxes are the same. That tells a duplicate, a cut object beside the whole one, and the two
parts of an object that no tile sees in full, by one rule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from detrove.ops.boxes import box_area, pairwise_iou

AGREEMENT = 0.5  # IoU, in the part that both tiles see, from which on two boxes are one object
CONTAINED = 0.8  # share of a cut box inside another tile's box from which on it is a part of that
BORDER = 4.0  # pixels; a box that ends this near to a tile's border may go on behind it


@dataclass(frozen=True)
class Tile:
    """A part of an image, in pixels, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.right, self.bottom


def make_tiles(size_hw: tuple[int, int], tile: int, overlap: float) -> list[Tile]:
    """Square tiles that cover an image, evenly spread, from left to right and from top to bottom.

    Args:
        size_hw: Height and width of the image.
        tile: Side of a tile in pixels; an image that is smaller gets one tile of its own size.
        overlap: Share of a tile's side that neighbours have in common at least, 0 to below 1.

    Raises:
        ValueError: If `tile` is below 1, or `overlap` is not in its range.
    """
    if tile < 1 or not 0 <= overlap < 1:
        raise ValueError(f'tile {tile}, overlap {overlap}: tiles have at least 1 pixel, overlap is from 0 to below 1')
    height, width = size_hw
    return [Tile(left, top, min(left + tile, width), min(top + tile, height))
            for top in _starts(height, tile, overlap) for left in _starts(width, tile, overlap)]


def merge_tiles(instances: Sequence[InstanceData], tiles: Sequence[Tile], size_hw: tuple[int, int]) -> InstanceData:
    """Detections of tiles as those of the image, the best scored first.

    Boxes of one class in different tiles that agree become one: the best scored of those that no tile's border cuts,
    or, where all are cut, the box around them with the best score. Boxes of the same tile are never merged; a box that
    is cut and that no other tile knows is kept.

    Args:
        instances: For each tile `bboxes` (N, 4) xyxy in pixels of the tile, `scores` (N,) and `labels` (N,).
        tiles: Where they lie.
        size_hw: Size of the image.

    Returns:
        `bboxes` in pixels of the image, `scores`, `labels`.
    """
    boxes = torch.cat([one.bboxes + one.bboxes.new_tensor((tile.left, tile.top) * 2)
                       for one, tile in zip(instances, tiles, strict=True)])
    scores = torch.cat([one.scores for one in instances])
    labels = torch.cat([one.labels for one in instances])
    cut = torch.cat([_cut_by(one.bboxes, tile, size_hw) for one, tile in zip(instances, tiles, strict=True)])
    tile_of = torch.arange(len(tiles)).repeat_interleave(torch.tensor([len(one.scores) for one in instances]))
    groups = _group(_agreeing_pairs(boxes, labels, cut, tile_of, tiles), tile_of.tolist())

    kept = []
    for members in groups:
        index = torch.tensor(members)
        whole = index[~cut[index]]
        candidates = whole if len(whole) else index
        best = int(candidates[scores[candidates].argmax()])
        if not len(whole):
            boxes[best] = torch.cat([boxes[index, :2].amin(0), boxes[index, 2:].amax(0)])
        kept.append(best)
    kept = torch.tensor(kept, dtype=torch.long)
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    return InstanceData(bboxes=boxes[kept], scores=scores[kept], labels=labels[kept])


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    stride = max(1, math.floor(tile * (1 - overlap)))
    number = math.ceil((length - tile) / stride) + 1
    return [round(index * (length - tile) / (number - 1)) for index in range(number)]


def _cut_by(boxes: Tensor, tile: Tile, size_hw: tuple[int, int]) -> Tensor:
    """Which boxes (in the tile's pixels) end at a border of the tile that is not one of the image."""
    height, width = tile.bottom - tile.top, tile.right - tile.left
    inner = boxes.new_tensor([tile.left > 0, tile.top > 0, tile.right < size_hw[1], tile.bottom < size_hw[0]]).bool()
    at_border = torch.cat([boxes[:, :2] <= BORDER, boxes[:, 2:] >= boxes.new_tensor([width, height]) - BORDER], 1)
    return (at_border & inner).any(1)


def _agreeing_pairs(boxes: Tensor, labels: Tensor, cut: Tensor, tile_of: Tensor,
                    tiles: Sequence[Tile]) -> list[tuple[int, int]]:
    """Pairs of boxes of overlapping tiles that are one object, the surest first."""
    pairs, certainty = [], []
    places = [torch.nonzero(tile_of == index)[:, 0] for index in range(len(tiles))]
    for first, one in enumerate(tiles):
        for second in range(first + 1, len(tiles)):
            shared = _shared(one, tiles[second])
            if shared is None or not len(places[first]) or not len(places[second]):
                continue
            a, b = places[first], places[second]
            agreement = _agreement(boxes[a], cut[a], boxes[b], cut[b], shared)
            agreement = agreement * (labels[a][:, None] == labels[b])
            rows, columns = torch.nonzero(agreement, as_tuple=True)
            pairs += zip(a[rows].tolist(), b[columns].tolist(), strict=True)
            certainty += agreement[rows, columns].tolist()
    return [pairs[index] for index in sorted(range(len(pairs)), key=lambda index: -certainty[index])]


def _agreement(boxes_a: Tensor, cut_a: Tensor, boxes_b: Tensor, cut_b: Tensor, shared: Tile) -> Tensor:
    """(A, B): how sure two boxes are one object, 0 where they are not."""
    clipped_a, clipped_b = _clip(boxes_a, shared), _clip(boxes_b, shared)
    # a box that is not finite agrees with none
    overlap = pairwise_iou(clipped_a, clipped_b)[0].nan_to_num()
    overlap = overlap * (overlap >= AGREEMENT)
    # Where little more than an edge is shared its IoU says nothing, but the cut box lies in the other one.
    corners = torch.max(boxes_a[:, None, :2], boxes_b[:, :2]), torch.min(boxes_a[:, None, 2:], boxes_b[:, 2:])
    inside = (corners[1] - corners[0]).clamp(min=0).prod(-1)
    share_a = inside / box_area(boxes_a)[:, None].clamp(min=1e-6) * cut_a[:, None]
    share_b = inside / box_area(boxes_b).clamp(min=1e-6) * cut_b
    share = torch.max(share_a, share_b)
    return torch.max(overlap, AGREEMENT * share * (share >= CONTAINED))  # below every agreement by IoU


def _group(pairs: Sequence[tuple[int, int]], tile_of: Sequence[int]) -> list[list[int]]:
    """Join pairs into groups with at most one box of a tile, so that neighbours in a crowd stay apart."""
    group_of = list(range(len(tile_of)))
    members = {index: [index] for index in group_of}
    for one, other in pairs:
        a, b = group_of[one], group_of[other]
        if a == b or {tile_of[index] for index in members[a]} & {tile_of[index] for index in members[b]}:
            continue
        for index in members[b]:
            group_of[index] = a
        members[a] += members.pop(b)
    return list(members.values())


def _shared(one: Tile, other: Tile) -> Tile | None:
    shared = Tile(max(one.left, other.left), max(one.top, other.top), min(one.right, other.right),
                  min(one.bottom, other.bottom))
    return shared if shared.left < shared.right and shared.top < shared.bottom else None


def _clip(boxes: Tensor, tile: Tile) -> Tensor:
    low, high = boxes.new_tensor(tile.xyxy[:2] * 2), boxes.new_tensor(tile.xyxy[2:] * 2)
    return boxes.clamp(low, high)
