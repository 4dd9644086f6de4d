"""Whether scores mean what they say, and whether the best box of an object has the best score.

The second is what Rank-DETR (Pu et al. 2023) improves: with the same boxes, AP rises when the better placed ones are
ranked higher.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from .average_precision import summarise
from .matching import Matches, match
from .objects import Detections, Truth, iou_matrix

LOWEST_SCORE = 0.05  # DETRs give every query a score; those far below any use would outweigh the others
_CANDIDATE_IOU = 0.5


@dataclass(frozen=True)
class Calibration:
    """Share of right detections (IoU 0.5) by score, of detections with at least `LOWEST_SCORE`.

    Attributes:
        edges: (B + 1,) of the bins.
        counts: (B,) detections.
        scores: (B,) mean score, NaN in empty bins.
        precision: (B,) share that is right.
        error: expected calibration error: the mean distance of the two, weighted by the counts; NaN without detections.
    """

    edges: np.ndarray
    counts: np.ndarray
    scores: np.ndarray
    precision: np.ndarray
    error: float


@dataclass(frozen=True)
class RankQuality:
    """How well scores order boxes by their overlap with the object.

    Attributes:
        iou: (N,) overlap of each detection with its nearest object of the class, 0 where there is none.
        correlation: Spearman's, between score and IoU of detections with an IoU of 0.5 at least; NaN for fewer than 3.
        contested: number of objects with two or more such detections.
        best_first: share of those in which the best scored one is also the best placed, NaN without any.
        iou_lost: mean IoU by which the best scored one falls short of the best placed one, NaN without any.
        perfect_ap: AP of the same boxes if the score of each were its IoU.
    """

    iou: np.ndarray
    correlation: float
    contested: int
    best_first: float
    iou_lost: float
    perfect_ap: float


def calibrate(detections: Detections, matches: Matches, *, num_bins: int = 10) -> Calibration:
    """Compare scores with the share of right detections, in bins of equal width from 0 to 1."""
    used = matches.counted[0] & (detections.scores >= LOWEST_SCORE)
    scores, right = detections.scores[used], matches.right[0, used].astype(float)
    edges = np.linspace(0, 1, num_bins + 1)
    place = np.clip(np.digitize(scores, edges) - 1, 0, num_bins - 1)
    counts = np.bincount(place, minlength=num_bins)
    with np.errstate(invalid='ignore'):
        mean_score, precision = (np.bincount(place, weights=values, minlength=num_bins) / counts
                                 for values in (scores, right))
    filled = counts > 0
    gaps = np.abs(mean_score - precision)[filled]
    error = float((gaps * counts[filled]).sum() / counts.sum()) if filled.any() else np.nan
    return Calibration(edges, counts, mean_score, precision, error)


def rank_quality(truth: Truth, detections: Detections) -> RankQuality:
    """Compare the order of scores with the order of overlaps, of boxes."""
    from scipy.stats import spearmanr

    iou, nearest = np.zeros(len(detections)), np.full(len(detections), -1)
    for found, objects in zip(detections.of_images(len(truth.image_ids)), truth.by_image, strict=True):
        objects = objects[~truth.crowd[objects]]
        if not len(objects):
            continue
        overlap = iou_matrix(detections.boxes_xyxy[found], truth.boxes_xyxy[objects])
        overlap[detections.labels[found][:, None] != truth.labels[objects][None, :]] = 0
        iou[found], nearest[found] = overlap.max(axis=1), objects[overlap.argmax(axis=1)]
    near = np.flatnonzero(iou >= _CANDIDATE_IOU)
    several = len(near) >= 3 and np.ptp(iou[near]) > 0 and np.ptp(detections.scores[near]) > 0
    correlation = float(spearmanr(detections.scores[near], iou[near]).statistic) if several else np.nan
    lost = _lost_overlap(nearest[near], detections.scores[near], iou[near])
    perfect = dataclasses.replace(detections, scores=iou)
    order = np.lexsort((-iou, detections.image))
    perfect = Detections(*(getattr(perfect, name)[order] for name in ('image', 'boxes_xyxy', 'scores', 'labels')))
    return RankQuality(iou, correlation, len(lost), float((lost == 0).mean()) if len(lost) else np.nan,
                       float(lost.mean()) if len(lost) else np.nan, summarise(match(truth, perfect).by_size).ap)


def _lost_overlap(objects: np.ndarray, scores: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """For each object with several detections: the best IoU minus that of the best scored one."""
    order = np.lexsort((-scores, objects))
    groups = np.split(iou[order], np.flatnonzero(np.diff(objects[order])) + 1)
    return np.array([group.max() - group[0] for group in groups if len(group) > 1])
