"""Random objects and detections that make every kind of error."""

import numpy as np
import pytest

from detrove.report.objects import Truth, to_detections


def make_case(seed, *, num_images=40, num_classes=3, crowd=0.0, noise=12.0):
    """Truth and detections: objects found well, badly, twice or not, with wrong classes, and boxes on nothing."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, num_images)
    image = np.repeat(np.arange(num_images), counts)
    corners, sizes = rng.uniform(0, 200, (len(image), 2)), rng.uniform(8, 120, (len(image), 2))
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    classes = tuple(f'class {label}' for label in range(num_classes))
    truth = Truth('random', classes, np.arange(num_images), image, boxes, rng.integers(0, num_classes, len(image)),
                  sizes.prod(axis=1), rng.random(len(image)) < crowd)
    predictions = []
    for index in range(num_images):
        own = image == index
        times = rng.integers(0, 4, own.sum())
        found = np.repeat(boxes[own], times, axis=0) + rng.normal(0, noise, (times.sum(), 4))
        labels = np.repeat(truth.labels[own], times)
        labels = np.where(rng.random(len(labels)) < 0.25, rng.integers(0, num_classes, len(labels)), labels)
        corner = rng.uniform(0, 200, (rng.integers(0, 4), 2))
        found = np.concatenate([found, np.concatenate([corner, corner + rng.uniform(8, 90, corner.shape)], axis=1)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
        labels = np.concatenate([labels, rng.integers(0, num_classes, len(corner))])
        predictions.append(dict(img_id=index, bboxes=found, scores=rng.random(len(found)), labels=labels))
    return truth, to_detections(predictions, truth.image_ids)


@pytest.fixture(scope='session')
def random_case():
    """`random_case(seed, ...)` -> truth and detections."""
    return make_case
