"""Precision, recall and F1 over the score threshold, and the threshold to choose."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .average_precision import mean_over, precision_at_recalls
from .matching import ClassMatches


@dataclass(frozen=True)
class ThresholdCurve:
    """Precision, recall and F1 of all detections with at least a score, at IoU 0.5.

    Attributes:
        scores: (n,) falling.
        precision, recall: (n,).
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        return 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)

    @property
    def best(self) -> int:
        """Position of the highest F1.

        Raises:
            ValueError: if there are no detections.
        """
        if not len(self.scores):
            raise ValueError('there are no detections, so there is no best threshold')
        return int(self.f1.argmax())

    def thinned(self, count: int = 200) -> 'ThresholdCurve':
        """At most `count` points, evenly along the scores: enough for a drawing."""
        if len(self.scores) <= count:
            return self
        wanted = np.linspace(self.scores[0], self.scores[-1], count)
        last = len(self.scores) - 1
        kept = np.unique(last - np.searchsorted(self.scores[::-1], wanted).clip(max=last))
        return ThresholdCurve(self.scores[kept], self.precision[kept], self.recall[kept])


def threshold_curve(classes: Sequence[ClassMatches]) -> ThresholdCurve:
    """Of several classes together, each detection counted once."""
    counted = [one.counted[0] for one in classes]
    scores = np.concatenate([one.scores[kept] for one, kept in zip(classes, counted, strict=True)])
    true = np.concatenate([one.true[0, kept] for one, kept in zip(classes, counted, strict=True)])
    order = np.argsort(-scores, kind='stable')
    scores, num_right = scores[order], np.cumsum(true[order])
    last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True]) if len(scores) else np.zeros(0, dtype=int)
    num_objects = sum(one.positives.sum() for one in classes)
    return ThresholdCurve(scores[last], num_right[last] / (last + 1), num_right[last] / max(num_objects, 1))


def mean_precision(classes: Sequence[ClassMatches]) -> np.ndarray:
    """(T, 101) precision at COCO's recalls, the mean over the classes that have objects."""
    return mean_over(np.stack([precision_at_recalls(one) for one in classes]), axis=0)
