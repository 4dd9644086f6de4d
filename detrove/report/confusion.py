"""Which classes a detector takes for which."""

import numpy as np

from .objects import Detections, Truth, iou_matrix


def confusion_matrix(truth: Truth, detections: Detections, *, score_thr: float, iou_thr: float = 0.5) -> np.ndarray:
    """Objects against detections, whatever their classes: pairs are formed by falling IoU, each object and each
    detection once.

    Args:
        score_thr: detections below this score are left out.
        iou_thr: pairs with less overlap are none.

    Returns:
        (K + 1, K + 1) counts: rows are classes of objects and last "no object", columns classes of detections and last
        "not found". Detections in crowds of their class are left out.
    """
    num_classes = len(truth.classes)
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    for found, objects in zip(detections.of_images(len(truth.image_ids)), truth.by_image, strict=True):
        found = found[detections.scores[found] >= score_thr]
        crowds, objects = objects[truth.crowd[objects]], objects[~truth.crowd[objects]]
        boxes, labels = detections.boxes_xyxy[found], detections.labels[found]
        iou = iou_matrix(boxes, truth.boxes_xyxy[objects])
        # of equal overlaps the right class wins: two objects may have one box
        tie = labels[:, None] == truth.labels[objects][None, :]
        rows, columns = _pairs(iou, tie, iou_thr)
        np.add.at(matrix, (truth.labels[objects[columns]], labels[rows]), 1)
        lost = np.setdiff1d(np.arange(len(objects)), columns)
        np.add.at(matrix, (truth.labels[objects[lost]], num_classes), 1)
        in_crowd = iou_matrix(boxes, truth.boxes_xyxy[crowds], np.ones(len(crowds), dtype=bool)) > iou_thr
        in_crowd = (in_crowd & (labels[:, None] == truth.labels[crowds][None, :])).any(axis=1)
        left = np.setdiff1d(np.flatnonzero(~in_crowd), rows)
        np.add.at(matrix, (num_classes, labels[left]), 1)
    return matrix


def worst_confusions(matrix: np.ndarray, classes: tuple[str, ...], count: int = 10) -> list[tuple[str, str, int]]:
    """The most frequent pairs of different classes: true class, detected class, number."""
    inner = matrix[: len(classes), : len(classes)].copy()
    np.fill_diagonal(inner, 0)
    order = np.argsort(-inner, axis=None, kind='stable')[:count]
    pairs = zip(*np.unravel_index(order, inner.shape), strict=True)
    return [(classes[row], classes[column], int(inner[row, column])) for row, column in pairs if inner[row, column]]


def _pairs(iou: np.ndarray, same: np.ndarray, iou_thr: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs."""
    rows, columns = np.nonzero(iou >= iou_thr)
    order = np.lexsort((~same[rows, columns], -iou[rows, columns]))
    free_rows, free_columns, pairs = set(rows.tolist()), set(columns.tolist()), []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row in free_rows and column in free_columns:
            free_rows.remove(row)
            free_columns.remove(column)
            pairs.append((row, column))
    taken = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return taken[:, 0], taken[:, 1]
