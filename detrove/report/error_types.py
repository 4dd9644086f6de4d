"""Kinds of errors and what each costs, as TIDE defines them (Bolya et al., ECCV 2020; github.com/dbolya/tide).

At IoU 0.5, with 0.1 as the limit to background. Each wrong detection and each object that nothing found has one kind;
the cost of a kind is the AP50 that would be gained if its errors were mended, all else as it is.
"""

from dataclasses import dataclass

import numpy as np

from .average_precision import average_precision, mean_over
from .matching import ClassMatches
from .objects import Detections, Truth, iou_matrix

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
KINDS = {
    'classification': 'on an object, with the name of another class',
    'localisation': 'the class is right, the box overlaps the object too little (IoU 0.1 to 0.5)',
    'both': 'wrong class and too little overlap',
    'duplicate': 'on an object that a better scored detection has found already',
    'background': 'where there is no object (IoU at most 0.1)',
    'missed': 'an object that nothing found, not even with a wrong class or a poor box',
}
_RIGHT, _IGNORED = -1, -2
_CODE = {kind: code for code, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class ErrorTypes:
    """Errors of a run.

    Attributes:
        kind: (N,) index into `KINDS` of each detection, negative for right ones and for those in crowds.
        missed: (G,) bool, objects that count as missed.
        counts: kind -> number of errors.
        ap50: AP at IoU 0.5 as it is, over classes that have objects.
        gains: kind -> AP50 gained if these errors were mended.
        false_positives: AP50 gained if every wrong detection had score 0.
        false_negatives: AP50 gained if no object were missing.
    """

    kind: np.ndarray
    missed: np.ndarray
    counts: dict[str, int]
    ap50: float
    gains: dict[str, float]
    false_positives: float
    false_negatives: float


def find_error_types(truth: Truth, detections: Detections) -> ErrorTypes:
    """Name the errors of a run and weigh them.

    As in TIDE's code, a detection in a crowd is no error for AP, but it is named and counted like the others, and
    mending it may find its object.
    """
    num_images = len(truth.image_ids)
    table = _Table(truth, detections)
    for found, objects in zip(detections.of_images(num_images), truth.by_image, strict=True):
        table.add_image(found, objects)
    return table.weigh()


class _Table:
    """What each detection is, and which object it would find if it were mended."""

    def __init__(self, truth: Truth, detections: Detections):
        self.truth, self.detections = truth, detections
        self.kind = np.full(len(detections), _RIGHT)
        self.ignored = np.zeros(len(detections), dtype=bool)
        self.wanted = np.full(len(detections), -1)  # the object that a class or box error is about
        self.found = np.zeros(len(truth.image), dtype=bool)
        self.mended_by = np.full(len(truth.image), -1)  # the best detection about an object that was not found

    def add_image(self, found: np.ndarray, every_object: np.ndarray) -> None:
        truth, boxes = self.truth, self.detections.boxes_xyxy[found]
        objects, crowds = (every_object[truth.crowd[every_object] == flag] for flag in (False, True))
        labels = self.detections.labels[found]
        iou = iou_matrix(boxes, truth.boxes_xyxy[objects])
        same = labels[:, None] == truth.labels[objects][None, :]
        taken = assign(np.where(same, iou, 0.0))
        right = taken >= 0
        self.found[objects[taken[right]]] = True
        self.ignored[found] = ~right & _in_crowd(boxes, labels, truth, crowds)
        wrong = np.flatnonzero(~right)
        if len(objects):
            kind, wanted = _kinds(iou[wrong], same[wrong], self.found[objects])
        else:
            kind, wanted = np.full(len(wrong), _CODE['background']), np.full(len(wrong), -1)
        self.kind[found[wrong]] = kind
        for detection, place in zip(found[wrong], wanted, strict=True):  # best score first
            if place >= 0 and not self.found[objects[place]]:
                self.wanted[detection] = objects[place]
                if self.mended_by[objects[place]] < 0:
                    self.mended_by[objects[place]] = detection

    def weigh(self) -> ErrorTypes:
        counts_at_all = ~self.truth.crowd
        missed = counts_at_all & ~self.found & (self.mended_by < 0)
        right = self.kind == _RIGHT
        counts = {kind: int((self.kind == code).sum()) for kind, code in _CODE.items()}
        counts['missed'] = int(missed.sum())
        # AP of: labels, rightness and presence of detections; objects that count
        labels, scores, present = self.detections.labels, self.detections.scores, ~self.ignored
        ap50 = self._ap(labels, scores, right, present, counts_at_all)
        gains = {}
        for kind, code in _CODE.items():
            if kind == 'missed':
                mended = self._ap(labels, scores, right, present, counts_at_all & ~missed)
            else:
                of_kind = self.kind == code
                fixed = of_kind & (self.wanted >= 0) & (self.mended_by[self.wanted] == np.arange(len(labels)))
                moved = np.where(fixed, self.truth.labels[self.wanted] if len(self.truth.labels) else 0, labels)
                mended = self._ap(moved, scores, right | fixed, (present & ~of_kind) | fixed, counts_at_all)
            gains[kind] = max(mended - ap50, 0.0)  # below 0 only by the steps of the recall axis
        return ErrorTypes(
            kind=np.where(self.ignored, _IGNORED, self.kind),
            missed=missed,
            counts=counts,
            ap50=ap50,
            gains=gains,
            false_positives=self._ap(labels, right.astype(float), right, present, counts_at_all) - ap50,
            false_negatives=self._ap(labels, scores, right, present, counts_at_all & self.found) - ap50,
        )

    def _ap(self, labels, scores, right, present, objects) -> float:
        values = []
        for label in range(len(self.truth.classes)):
            if not (~self.truth.crowd & (self.truth.labels == label)).any():
                continue
            own = np.flatnonzero(present & (labels == label))
            own = own[np.argsort(-scores[own], kind='stable')]
            positives = np.array([(objects & (self.truth.labels == label)).sum()])
            ones = np.ones((1, len(own)), dtype=bool)
            one = ClassMatches(scores[own], np.zeros(len(own), dtype=np.int64), right[None, own], ones, positives)
            values.append(np.nan_to_num(average_precision(one)[0]))  # as in TIDE, 0 when no object is left
        return float(mean_over(np.array(values)))


def assign(iou: np.ndarray) -> np.ndarray:
    """For each detection, best score first, the free object that it overlaps most, -1 below `FOREGROUND_IOU`.

    Args:
        iou: (n, m), 0 for objects of other classes.
    """
    taken = np.full(len(iou), -1)
    if not iou.size:
        return taken
    free = iou.copy()
    for index in np.flatnonzero(iou.max(axis=1) >= FOREGROUND_IOU):
        best = free[index].argmax()
        if free[index, best] >= FOREGROUND_IOU:
            taken[index] = best
            free[:, best] = 0
    return taken


def _in_crowd(boxes: np.ndarray, labels: np.ndarray, truth: Truth, crowds: np.ndarray) -> np.ndarray:
    covered = iou_matrix(boxes, truth.boxes_xyxy[crowds], np.ones(len(crowds), dtype=bool)) > FOREGROUND_IOU
    return (covered & (labels[:, None] == truth.labels[crowds][None, :])).any(axis=1)


def _kinds(iou: np.ndarray, same: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kinds of wrong detections, and the object that those of the first two kinds are about; the first that holds."""
    with_class, without = np.where(same, iou, 0.0), np.where(same, 0.0, iou)
    best_same = with_class.max(axis=1)
    conditions = {
        'localisation': (best_same >= BACKGROUND_IOU) & (best_same <= FOREGROUND_IOU),
        'classification': without.max(axis=1) >= FOREGROUND_IOU,
        'duplicate': (with_class * found).max(axis=1) >= FOREGROUND_IOU,
        'background': iou.max(axis=1) <= BACKGROUND_IOU,
    }
    codes = [_CODE[kind] for kind in conditions]
    kind = np.select(list(conditions.values()), codes, default=_CODE['both'])
    wanted = np.select([kind == _CODE['localisation'], kind == _CODE['classification']],
                       [with_class.argmax(axis=1), without.argmax(axis=1)], default=-1)
    return kind, wanted
