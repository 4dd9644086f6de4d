"""Everything that a report says of one detector, worked out when it is asked for."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .average_precision import Resampled, Summary, summarise
from .breakdown import Group, by_objects_per_image, by_overlap
from .calibration import Calibration, RankQuality, calibrate, rank_quality
from .confusion import confusion_matrix
from .curves import ThresholdCurve, threshold_curve
from .error_types import ErrorTypes, find_error_types
from .history import History, read_history
from .matching import Matches, match
from .objects import Detections, Truth, read_truth, to_detections
from .pictures import ImageResult, image_results
from .predictions import Predictions
from .run import Run
from .test_set import TestSet
from .unavailable import Unavailable


@dataclass(frozen=True)
class DetectorAnalysis:
    """One run of a detector; `iou_type` says whether boxes or masks are matched for AP and its curves."""

    run: Run
    test_set: TestSet
    predictions: Predictions
    truth: Truth
    detections: Detections
    iou_type: str = 'bbox'

    @property
    def name(self) -> str:
        return self.run.name

    @cached_property
    def matches(self) -> Matches:
        return match(self.truth, self.detections, iou_type=self.iou_type)

    @cached_property
    def summary(self) -> Summary:
        return summarise(self.matches.by_size)

    @cached_property
    def resampled(self) -> Resampled:
        return Resampled(self.matches.classes)

    @cached_property
    def threshold_curve(self) -> ThresholdCurve:
        return threshold_curve(self.matches.classes)

    @property
    def best_threshold(self) -> float:
        """The score from which on detections are best shown: that of the highest F1."""
        if not len(self.threshold_curve.scores):
            raise Unavailable(f'{self.name} detected nothing')
        return float(self.threshold_curve.scores[self.threshold_curve.best])

    @cached_property
    def errors(self) -> ErrorTypes:
        return find_error_types(self.truth, self.detections)

    @cached_property
    def confusion(self) -> np.ndarray:
        return confusion_matrix(self.truth, self.detections, score_thr=self.best_threshold)

    @cached_property
    def calibration(self) -> Calibration:
        return calibrate(self.detections, self.matches)

    @cached_property
    def rank_quality(self) -> RankQuality:
        return rank_quality(self.truth, self.detections)

    @cached_property
    def by_objects_per_image(self) -> list[Group]:
        return by_objects_per_image(self.truth, self.matches)

    @cached_property
    def by_overlap(self) -> list[Group]:
        return by_overlap(self.truth, self.matches)

    @cached_property
    def image_results(self) -> list[ImageResult]:
        return image_results(self.truth, self.detections, self.matches, self.best_threshold)


def analyse(run: Run, test_set: TestSet, predictions: Predictions, *, iou_type: str = 'bbox') -> DetectorAnalysis:
    """The analysis of predictions on a test set.

    Raises:
        ValueError: if the predictions are of other images or classes.
    """
    truth = read_truth(test_set.ann_file, test_set.classes, [one['img_id'] for one in predictions.images])
    detections = to_detections(predictions.images, truth.image_ids)
    highest = int(detections.labels.max(initial=-1))
    if highest >= len(truth.classes):
        raise ValueError(f'{run.name}: a detection has label {highest}, and {test_set.ann_file} is used with '
                         f'{len(truth.classes)} classes')
    return DetectorAnalysis(run, test_set, predictions, truth, detections, iou_type)


def history_of(run: Run) -> History:
    """The log of a run's training.

    Raises:
        Unavailable: if there is none.
    """
    if run.work_dir is None:
        raise Unavailable(f'{run.name} is a file with predictions, which has no log')
    return read_history(Path(run.work_dir))
