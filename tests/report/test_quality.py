"""Curves, confusion, calibration and ranks on cases small enough to know the answer."""

import dataclasses

import numpy as np
import pytest

from detrove.report.breakdown import by_objects_per_image, by_overlap
from detrove.report.calibration import calibrate, rank_quality
from detrove.report.confusion import confusion_matrix, worst_confusions
from detrove.report.curves import threshold_curve
from detrove.report.matching import match
from detrove.report.objects import Truth, to_detections
from detrove.report.pictures import best_images, image_results, worst_images
from detrove.report.segmentation import class_iou


@pytest.fixture(scope='module')
def drawn():
    """Two images: in the first both objects are found, one with the wrong class; in the second nothing is right."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10.0]])
    truth = Truth('drawn', ('a', 'b'), np.array([3, 8]), np.array([0, 0, 1]), boxes, np.array([0, 1, 0]),
                  np.full(3, 100.0), np.zeros(3, bool))
    first = dict(img_id=3, bboxes=np.array([[0, 0, 10, 10], [20, 0, 30, 9.0]]), scores=np.array([0.9, 0.8]),
                 labels=np.array([0, 0]))
    second = dict(img_id=8, bboxes=np.array([[50, 50, 60, 60.0]]), scores=np.array([0.7]), labels=np.array([1]))
    return truth, to_detections([second, first], truth.image_ids)


def test_threshold_curve(drawn):
    curve = threshold_curve(match(*drawn).classes)
    assert curve.scores.tolist() == [0.9, 0.8, 0.7]
    assert curve.precision == pytest.approx([1, 1 / 2, 1 / 3])
    assert curve.recall == pytest.approx([1 / 3] * 3)
    assert curve.best == 0
    assert curve.f1[0] == pytest.approx(0.5)


def test_confusion_matrix(drawn):
    matrix = confusion_matrix(*drawn, score_thr=0.5)
    assert matrix.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert worst_confusions(matrix, ('a', 'b')) == [('b', 'a', 1)]
    assert confusion_matrix(*drawn, score_thr=0.95)[:, -1].tolist() == [2, 1, 0]


def test_best_and_worst_images(drawn):
    results = image_results(*drawn, match(*drawn), 0.5)
    assert [(one.right, one.wrong, one.missed) for one in results] == [(1, 1, 1), (0, 1, 1)]
    assert best_images(results) == [0, 1]
    assert worst_images(results) == [1, 0]


def test_perfect_scores_are_calibrated(random_case):
    truth, detections = random_case(0)
    matches = match(truth, detections)
    known = dataclasses.replace(detections, scores=matches.right[0].astype(float))
    assert calibrate(known, matches).error == 0
    assert calibrate(detections, matches).error > 0.1


def test_scores_that_are_overlaps_rank_perfectly(random_case):
    truth, detections = random_case(0)
    before = rank_quality(truth, detections)
    order = np.lexsort((-before.iou, detections.image))
    columns = (detections.image, detections.boxes_xyxy, before.iou, detections.labels)
    after = rank_quality(truth, type(detections)(*(column[order] for column in columns)))
    assert after.correlation == pytest.approx(1)
    assert (after.best_first, after.iou_lost) == (1, 0)
    assert after.perfect_ap == pytest.approx(before.perfect_ap)
    assert before.best_first < 1 and before.correlation < 0.5


def test_groups_hold_every_image_and_object(random_case):
    truth, detections = random_case(0)
    matches = match(truth, detections)
    with_objects = len(np.unique(truth.image))
    assert sum(group.count for group in by_objects_per_image(truth, matches)) == with_objects
    assert sum(group.count for group in by_overlap(truth, matches)) == len(truth.image)


def test_class_iou():
    confusion = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0.0]])
    np.testing.assert_allclose(class_iou(confusion), [8 / 10, 10 / 12, np.nan])
