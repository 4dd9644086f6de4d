"""Average precision and recall by how crowded an image or an object is."""

from dataclasses import dataclass

import numpy as np

from .average_precision import average_precision, mean_over
from .matching import Matches
from .objects import Truth, iou_matrix

OBJECTS_PER_IMAGE = ((1, 2), (3, 5), (6, 10), (11, 20), (21, None))
OVERLAPS = ((0.0, 0.0), (0.0, 0.2), (0.2, 0.5), (0.5, 1.0))  # above the first value, up to the second


@dataclass(frozen=True)
class Group:
    """A part of the images or objects.

    Attributes:
        count: how many.
        values: AP and AP50 of those images, or the share of those objects that is found at IoU 0.5 and 0.75.
    """

    name: str
    count: int
    values: tuple[float, float]


def by_objects_per_image(truth: Truth, matches: Matches) -> list[Group]:
    """AP on images with few and with many objects; empty groups are left out."""
    numbers = np.bincount(truth.image[~truth.crowd], minlength=len(truth.image_ids))
    groups = []
    for low, high in OBJECTS_PER_IMAGE:
        chosen = (numbers >= low) & (numbers <= (np.inf if high is None else high))
        if chosen.any():
            table = np.stack([average_precision(one.of_images(chosen)) for one in matches.classes])
            name = f'{low} or more' if high is None else f'{low} to {high}'
            groups.append(Group(name, int(chosen.sum()), (float(mean_over(table)), float(mean_over(table[:, 0])))))
    return groups


def by_overlap(truth: Truth, matches: Matches) -> list[Group]:
    """Share of found objects by how much their box overlaps another object's; empty groups are left out."""
    overlap = np.zeros(len(truth.image))
    for objects in truth.by_image:
        if len(objects) > 1:
            iou = iou_matrix(truth.boxes_xyxy[objects], truth.boxes_xyxy[objects])
            np.fill_diagonal(iou, 0)
            overlap[objects] = iou.max(axis=1)
    groups = []
    for low, high in OVERLAPS:
        chosen = ~truth.crowd & (overlap <= high) & ((overlap > low) | (high == 0))
        if chosen.any():
            name = 'none' if high == 0 else f'up to {high:g}' if low == 0 else f'{low:g} to {high:g}'
            groups.append(Group(name, int(chosen.sum()),
                                tuple(float(matches.found[index, chosen].mean()) for index in (0, 5))))
    return groups
