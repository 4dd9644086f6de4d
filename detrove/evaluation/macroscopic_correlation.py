"""Macroscopic correlation: how much the boxes of an image resemble each other in position and size.

Relation-DETR (Hou et al. 2024), section 3, introduces it to show that objects are not placed independently.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class MacroscopicCorrelation:
    """The metric on one data set.

    Attributes:
        by_image: image id -> value in [0, 1], for each image with two usable boxes at least.
        num_images: images that the file lists.
        num_unusable: boxes whose four numbers are equal: they correlate with nothing, and are left out. (The official
            notebook gets NaN for their images.)
    """

    by_image: dict[int, float]
    num_images: int
    num_unusable: int

    @property
    def values(self) -> np.ndarray:
        """The values of all images, (N,)."""
        return np.array(list(self.by_image.values()))


def macroscopic_correlation(boxes_xywh: np.ndarray) -> float:
    """Mean absolute Pearson correlation over all pairs of an image's boxes, each box taken as four samples.

    Args:
        boxes_xywh: (N, 4) in pixels, left, top, width and height as in COCO; N at least 2, and in no box four equal
            numbers.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: if there are fewer than two boxes, or one has four equal numbers.
    """
    boxes_xywh = np.asarray(boxes_xywh, dtype=np.float64)
    count = len(boxes_xywh)
    if boxes_xywh.shape != (count, 4) or count < 2:
        raise ValueError(f'boxes of shape {boxes_xywh.shape} given; needed are two boxes of four numbers at least.')
    if (np.ptp(boxes_xywh, axis=1) == 0).any():
        raise ValueError('a box has four equal numbers, for which correlation is not defined; leave it out.')
    correlation = np.abs(np.corrcoef(boxes_xywh))
    return float((correlation.sum() - np.trace(correlation)) / (count * (count - 1)))


def measure_annotations(ann_file: str | Path) -> MacroscopicCorrelation:
    """The macroscopic correlation of every image of a COCO json file, crowds included as in the official notebook.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an annotation file in COCO's format, or no image has two boxes.
    """
    ann_file = Path(ann_file)
    if not ann_file.is_file():
        raise FileNotFoundError(f'annotation file not found: {ann_file.absolute()}')
    try:
        content = json.loads(ann_file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f'{ann_file} is not a json file: {error}') from error
    missing = {'images', 'annotations'} - set(content if isinstance(content, dict) else ())
    if missing:
        raise ValueError(f'{ann_file} is not in COCO\'s format: it has no {" and no ".join(sorted(missing))}.')
    boxes_of_image, num_unusable = defaultdict(list), 0
    for annotation in content['annotations']:
        if len(set(annotation['bbox'])) == 1:
            num_unusable += 1
        else:
            boxes_of_image[annotation['image_id']].append(annotation['bbox'])
    by_image = {image: macroscopic_correlation(np.array(boxes)) for image, boxes in boxes_of_image.items()
                if len(boxes) > 1}
    if not by_image:
        raise ValueError(f'{ann_file}: none of the {len(content["images"])} images has two boxes to compare.')
    return MacroscopicCorrelation(by_image, len(content['images']), num_unusable)
