"""COCO's average precision from matches, for weighted images too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import THRESHOLDS, ClassMatches

RECALLS = np.linspace(0, 1, 101)


def precision_at_recalls(matches: ClassMatches) -> np.ndarray:
    """(T, 101) interpolated precision at `RECALLS`; NaN where there are no objects."""
    return np.stack([_interpolated(*ranks, np.ones(len(matches.positives)), matches.positives)
                     for ranks in _ranks(matches)])


def average_precision(matches: ClassMatches) -> np.ndarray:
    """(T,) average precision at each IoU threshold, NaN where there are no objects."""
    return precision_at_recalls(matches).mean(axis=1)


def mean_over(values: np.ndarray, axis=None) -> float | np.ndarray:
    """The mean of what is not NaN, NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=axis) / np.maximum(count, 1), np.nan)[()]


@dataclass(frozen=True)
class Summary:
    """The usual numbers of a run, NaN where there is no object of that kind."""

    ap: float
    ap50: float
    ap75: float
    by_size: dict[str, float]
    by_class: np.ndarray  # (K, T)


def summarise(by_size: dict[str, Sequence[ClassMatches]]) -> Summary:
    """AP of a run over classes, thresholds and sizes."""
    tables = {size: np.stack([average_precision(one) for one in classes]) for size, classes in by_size.items()}
    every = tables['all']
    return Summary(float(mean_over(every)), float(mean_over(every[:, 0])), float(mean_over(every[:, 5])),
                   {size: float(mean_over(table)) for size, table in tables.items() if size != 'all'}, every)


class Resampled:
    """Average precision of one run for many weightings of its images.

    What does not depend on the weights is worked out once: between two right detections only the number of wrong ones
    matters, and none matters after the last right one.
    """

    def __init__(self, classes: Sequence[ClassMatches]):
        self.classes = classes
        self.ranks = [list(_ranks(one)) for one in classes]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """(K, T) for (I,) weights: how often each image is in the sample."""
        table = np.full((len(self.classes), len(THRESHOLDS)), np.nan)
        for label, (one, ranks) in enumerate(zip(self.classes, self.ranks, strict=True)):
            if (weights * one.positives).any():
                table[label] = [_interpolated(*rank, weights, one.positives).mean() for rank in ranks]
        return table


def _ranks(matches: ClassMatches):
    """Per threshold: the images of the counted detections up to the last right one, and where the right ones are."""
    for true, counted in zip(matches.true, matches.counted, strict=True):
        kept = np.flatnonzero(counted)
        right = np.flatnonzero(true[kept])
        yield matches.image[kept[: right[-1] + 1 if len(right) else 0]], right


def _interpolated(image: np.ndarray, right: np.ndarray, weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    num_objects = float(weights @ positives)
    if not num_objects:
        return np.full(len(RECALLS), np.nan)
    if not len(right):
        return np.zeros(len(RECALLS))
    weight = weights[image]
    num_right, num_all = np.cumsum(weight[right]), np.cumsum(weight)[right]
    precision = num_right / np.maximum(num_all, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # as in COCO, the recalls are compared in floating point
    first = np.searchsorted(num_right / num_objects, RECALLS, side='left')
    return np.append(envelope, 0.0)[first]
