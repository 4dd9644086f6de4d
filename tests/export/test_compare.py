"""When a file counts as answering like its model."""

import numpy as np
import pytest

from detrove.export.compare import FLOAT, HALF, compare_detections, compare_labels, compare_maps

BOXES = np.array([[[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 90, 80]]], np.float32)
SCORES = np.array([[0.9, 0.9, 0.3]], np.float32)
LABELS = np.array([[1, 2, 1]])


def compare(boxes=BOXES, scores=SCORES, labels=LABELS, tolerance=FLOAT):
    return compare_detections([boxes, scores, labels], [BOXES, SCORES, LABELS], 100, tolerance)


def test_order_does_not_matter():
    order = [1, 2, 0]
    assert compare(BOXES[:, order], SCORES[:, order], LABELS[:, order]).agrees


@pytest.mark.parametrize('change', [
    dict(boxes=BOXES + [[[0.2, 0, 0, 0]]]), dict(scores=SCORES + 0.002), dict(labels=LABELS + 1),
    dict(boxes=BOXES * np.nan), dict(scores=SCORES * np.nan),
    dict(boxes=BOXES[:, [0, 0, 2]], labels=LABELS[:, [0, 0, 2]]),  # one detection is no partner for two
])
def test_differences_are_seen(change):
    result = compare(**change)
    assert not result.agrees and 'of 3 detections agree' in result.text


def test_allowed_differences():
    assert compare(scores=SCORES + 0.005, tolerance=HALF).agrees


def test_faint_detections_count_only_where_there_are_few():
    scores = np.linspace(0.04, 0.9, 40, dtype=np.float32)[None]
    boxes, labels = np.zeros((1, 40, 4), np.float32), np.zeros((1, 40), int)
    other = labels.copy()
    other[:, 0] = 1
    assert compare_detections([boxes, scores, other], [boxes, scores, labels], 100, FLOAT).agrees
    other[:, 39] = 1
    assert not compare_detections([boxes, scores, other], [boxes, scores, labels], 100, FLOAT).agrees


def test_label_maps_and_feature_maps():
    labels = np.zeros((1, 100, 100), int)
    other = labels.copy()
    other[0, 0, :11] = 1
    assert compare_labels([labels], [labels], FLOAT).agrees
    assert not compare_labels([other], [labels], FLOAT).agrees
    maps = np.ones((1, 2, 3, 3), np.float32)
    assert compare_maps([maps * 1.0001], [maps], ('map0',), FLOAT).agrees
    assert not compare_maps([maps * 1.01], [maps], ('map0',), FLOAT).agrees
    assert not compare_maps([maps * np.nan], [maps], ('map0',), FLOAT).agrees
