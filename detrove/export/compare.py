"""Whether a written file answers as its model does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Tolerance:
    """How far answers may lie apart.

    Attributes:
        score: between scores, 0 to 1.
        box: between sides of boxes, as a share of the image's longer side.
        agreeing: share of detections, or of pixels, that have to agree.
        relative: between maps and logits, relative to the largest value.
    """

    score: float = 1e-3
    box: float = 1e-3
    agreeing: float = 1.0
    relative: float = 1e-3


FLOAT = Tolerance()
# in half precision queries of nearly the same score change places, so that some of the faint ones are others
HALF = Tolerance(score=0.02, box=0.01, agreeing=0.95, relative=0.05)
FAINT = 0.05  # detections below this score are compared only where there are few others
FEWEST = 10


@dataclass(frozen=True)
class Comparison:
    """Of one batch: whether it agrees, and by how much, in words."""

    agrees: bool
    text: str


def compare_detections(found: list[np.ndarray], expected: list[np.ndarray], longer_side: int,
                       tolerance: Tolerance) -> Comparison:
    """Boxes xyxy (B, N, 4), scores and labels (B, N) of the file and of the model.

    Detections are paired within a label so that scores and boxes differ least, whatever their order. Those of the model
    above `FAINT`, or its ten best, need a partner: the last places are decided by differences below any precision.
    """
    boxes, scores, labels = expected
    paired = total = 0
    worst_score = worst_box = 0.0
    for image in range(len(scores)):
        counted = scores[image] >= min(FAINT, np.sort(scores[image])[::-1][:FEWEST][-1])
        rows = np.flatnonzero(counted)
        score_gap = np.abs(scores[image][rows, None] - found[1][image][None])
        box_gap = np.abs(boxes[image][rows, None] - found[0][image][None]).max(-1) / longer_side
        cost = score_gap / tolerance.score + box_gap / tolerance.box
        cost[labels[image][rows, None] != found[2][image][None]] = np.inf
        # no infinite costs are allowed there; such pairs are told apart again by `fits`
        pairs = linear_sum_assignment(np.nan_to_num(cost, nan=1e9, posinf=1e9))
        fits = np.isfinite(cost[pairs]) & (score_gap[pairs] <= tolerance.score) & (box_gap[pairs] <= tolerance.box)
        paired, total = paired + fits.sum(), total + len(rows)
        if fits.any():
            worst_score = max(worst_score, score_gap[pairs][fits].max())
            worst_box = max(worst_box, box_gap[pairs][fits].max() * longer_side)
    share = paired / max(1, total)
    return Comparison(bool(share >= tolerance.agreeing),
                      f'{paired} of {total} detections agree, scores within {worst_score:.1e}, boxes within '
                      f'{worst_box:.1e} pixels (allowed: {tolerance.score:g}, {tolerance.box * longer_side:.2g})')


def compare_labels(found: list[np.ndarray], expected: list[np.ndarray], tolerance: Tolerance) -> Comparison:
    """Label maps (B, H, W)."""
    share = float((found[0] == expected[0]).mean())
    least = min(0.999, tolerance.agreeing)
    return Comparison(share >= least, f'{share:.3%} of pixels have the same label (at least {least:.1%})')


def compare_maps(found: list[np.ndarray], expected: list[np.ndarray], names: tuple[str, ...],
                 tolerance: Tolerance) -> Comparison:
    """Any tensors, relative to the largest absolute value of each."""
    gaps = [float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12)) for a, b in zip(found, expected, strict=True)]
    text = ', '.join(f'{name} {gap:.1e}' for name, gap in zip(names, gaps, strict=True))
    return Comparison(all(gap <= tolerance.relative for gap in gaps),
                      f'largest differences: {text} of the largest value (allowed: {tolerance.relative:g})')
