"""Tiles and their merging, with a detector that sees coloured squares exactly, as far as a tile shows them."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from detrove.inference.tiles import Tile, make_tiles, merge_tiles

SIZE_HW = (520, 700)
# class -> colour
COLOURS = ((255, 0, 0), (0, 255, 0))


def detect_squares(image):
    """What shows of each filled rectangle, by colour; the score grows with what shows of it."""
    boxes, labels = [], []
    for label, colour in enumerate(COLOURS):
        _, _, stats, _ = cv2.connectedComponentsWithStats((image == colour).all(-1).astype(np.uint8))
        for left, top, width, height, _ in stats[1:]:
            boxes.append([left, top, left + width, top + height])
            labels.append(label)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return InstanceData(bboxes=boxes, scores=1 - 1 / (2 + areas), labels=torch.tensor(labels, dtype=torch.long))


def in_tiles(image, tile, overlap):
    tiles = make_tiles(image.shape[:2], tile, overlap)
    found = [detect_squares(image[one.top : one.bottom, one.left : one.right]) for one in tiles]
    assert sum(map(len, found)) > len(detect_squares(image)), 'the tiles cut nothing'
    return merge_tiles(found, tiles, image.shape[:2])


def as_set(instances):
    boxes, labels = instances.bboxes.tolist(), instances.labels.tolist()
    return sorted((label, *box) for label, box in zip(labels, boxes, strict=True))


def draw(rectangles):
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    for label, left, top, right, bottom in rectangles:
        image[top:bottom, left:right] = COLOURS[label]
    return image


def random_rectangles(seed, number=40, longest=60):
    """Rectangles that do not touch one another."""
    rng = np.random.default_rng(seed)
    taken, rectangles = np.zeros(SIZE_HW, bool), []
    for _ in range(number):
        width, height = rng.integers(8, longest, 2)
        left, top = rng.integers(0, SIZE_HW[1] - width), rng.integers(0, SIZE_HW[0] - height)
        if taken[max(top - 2, 0) : top + height + 2, max(left - 2, 0) : left + width + 2].any():
            continue
        taken[top : top + height, left : left + width] = True
        rectangles.append((int(rng.integers(2)), left, top, left + width, top + height))
    return rectangles


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('tile, overlap', [(200, 0.35), (256, 0.25), (300, 0.3)])
def test_tiles_find_what_the_whole_image_shows(seed, tile, overlap):
    image = draw(random_rectangles(seed))
    assert as_set(in_tiles(image, tile, overlap)) == as_set(detect_squares(image))


def test_objects_larger_than_the_overlap_are_put_together():
    image = draw([(0, 30, 150, 600, 190), (1, 100, 230, 450, 480)])  # the second spans several rows and columns
    assert as_set(in_tiles(image, 256, 0.2)) == as_set(detect_squares(image))


def test_neighbours_of_one_class_stay_apart():
    tiles = [Tile(0, 0, 100, 100), Tile(80, 0, 180, 100)]
    close = torch.tensor([[82.0, 10, 96, 30], [84, 12, 98, 32]])  # IoU 0.6: two objects in a crowd, by both tiles
    labels, scores = torch.tensor([0, 0]), torch.tensor([0.9, 0.8])
    found = [InstanceData(bboxes=close - torch.tensor([left, 0, left, 0]), scores=scores, labels=labels)
             for left in (0, 80)]
    assert as_set(merge_tiles(found, tiles, (100, 180))) == [(0, *box) for box in close.tolist()]


def test_classes_are_not_mixed_and_unknown_cut_boxes_stay():
    tiles = [Tile(0, 0, 100, 100), Tile(80, 0, 180, 100)]
    found = [InstanceData(bboxes=torch.tensor([[70.0, 10, 100, 30]]), scores=torch.tensor([0.5]),
                          labels=torch.tensor([0])),
             InstanceData(bboxes=torch.tensor([[0.0, 10, 20, 30]]), scores=torch.tensor([0.7]),
                          labels=torch.tensor([1]))]
    merged = merge_tiles(found, tiles, (100, 180))
    assert as_set(merged) == [(0, 70, 10, 100, 30), (1, 80, 10, 100, 30)]
    assert merged.scores.tolist() == pytest.approx([0.7, 0.5])


def test_nothing_found():
    nothing = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long))
    tiles = make_tiles((100, 180), 100, 0.2)
    assert len(merge_tiles([nothing] * len(tiles), tiles, (100, 180))) == 0


@pytest.mark.parametrize('length, tile, overlap', [(1000, 256, 0.2), (257, 256, 0.2), (256, 256, 0.5), (90, 256, 0.0),
                                                   (1001, 100, 0.0), (50, 7, 0.9)])
def test_tiles_cover_the_image_and_overlap(length, tile, overlap):
    spans = [(one.left, one.right) for one in make_tiles((10, length), tile, overlap)]
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(right - left == min(tile, length) for left, right in spans)
    assert all(one[1] - other[0] >= int(overlap * tile) for one, other in pairwise(spans))


@pytest.mark.parametrize('tile, overlap', [(0, 0.2), (100, 1.0), (100, -0.1)])
def test_wrong_sizes(tile, overlap):
    with pytest.raises(ValueError, match='overlap is from 0 to below 1'):
        make_tiles((100, 100), tile, overlap)
