"""AP and its resamples against pycocotools on the same detections."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from detrove.report.average_precision import Resampled, average_precision, summarise
from detrove.report.bootstrap import bootstrap
from detrove.report.matching import SIZES, _evaluator, match
from detrove.report.objects import Detections, to_detections


def coco_ap(truth, detections, image_ids=None):
    """What pycocotools accumulates: precision (T, 101, K, sizes)."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = _evaluator(truth, detections, 'bbox')
        assert isinstance(evaluator, COCOeval)
        if image_ids is not None:
            evaluator.params.imgIds = image_ids
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval['precision'][..., 0]


@pytest.mark.parametrize('crowd', [0.0, 0.2])
def test_equal_to_pycocotools(random_case, crowd):
    truth, detections = random_case(0, crowd=crowd)
    matches, expected = match(truth, detections), coco_ap(truth, detections)
    for index, size in enumerate(SIZES):
        for label in range(len(truth.classes)):
            table = expected[:, :, label, index]
            ours = average_precision(matches.by_size[size][label])
            np.testing.assert_allclose(np.nan_to_num(ours, nan=-1), table.mean(axis=1), atol=1e-12)
    summary = summarise(matches.by_size)
    assert summary.ap == pytest.approx(expected[..., 0].mean())
    assert summary.ap75 == pytest.approx(expected[5, ..., 0].mean())


def test_masks_that_fill_their_boxes_give_the_ap_of_boxes(random_case):
    truth, detections = random_case(0)
    truth, detections = map(_with_masks, (truth, detections))
    by_mask, by_box = (summarise(match(truth, detections, iou_type=kind).by_size) for kind in ('segm', 'bbox'))
    assert by_mask.ap == pytest.approx(by_box.ap)
    with pytest.raises(ValueError, match='the model has none'):
        match(truth, dataclasses.replace(detections, masks=None), iou_type='segm')


def test_weights_of_zero_and_one_choose_images(random_case):
    truth, detections = random_case(1)
    chosen = np.random.default_rng(0).random(len(truth.image_ids)) < 0.5
    expected = coco_ap(truth, detections, np.flatnonzero(chosen).tolist())[..., 0].mean(axis=1).T
    resampled = Resampled(match(truth, detections).classes)
    np.testing.assert_allclose(resampled(chosen.astype(float)), expected, atol=1e-12)
    np.testing.assert_allclose([average_precision(one.of_images(chosen)) for one in match(truth, detections).classes],
                               expected, atol=1e-12)


def test_equal_runs_differ_by_nothing(random_case):
    truth, detections = random_case(0)
    measure = Resampled(match(truth, detections).classes)
    change = bootstrap([measure, measure], len(truth.image_ids), num_resamples=50).difference(1, 0)
    assert (change.value, change.low, change.high) == (0, 0, 0)
    assert not change.excludes_zero


def test_runs_that_differ_by_chance_are_not_told_apart(random_case):
    """The same noise of boxes, drawn twice."""
    truth, _ = random_case(0, num_images=80)
    runs = [_found(truth, np.random.default_rng(seed), noise=6) for seed in (1, 2)]
    change = _compare(truth, *runs)
    assert change.low < 0 < change.high


def test_a_worse_run_is_told(random_case):
    truth, _ = random_case(0, num_images=80)
    good, bad = _found(truth, np.random.default_rng(1), noise=4), _found(truth, np.random.default_rng(2), noise=12)
    change = _compare(truth, good, bad)
    assert change.excludes_zero
    assert change.low <= change.value <= change.high < 0


def test_too_few_images():
    with pytest.raises(ValueError, match='two images'):
        bootstrap([lambda weights: weights], 1)


def test_the_best_detections_of_each_class_are_kept():
    scores = np.arange(150) / 200
    one = dict(img_id=5, bboxes=np.zeros((150, 4)), scores=scores, labels=np.r_[np.zeros(120, int), np.ones(30, int)])
    detections = to_detections([one], np.array([5]))
    assert (detections.labels == 0).sum() == 100
    assert (detections.labels == 1).sum() == 30
    assert detections.scores[detections.labels == 0].min() == scores[20]
    assert (np.diff(detections.scores) <= 0).all()


def _with_masks(objects):
    """Boxes of whole pixels inside a canvas, and masks that fill them."""
    boxes = (objects.boxes_xyxy + 60).round().clip(0, 500)
    masks = []
    for left, top, right, bottom in boxes.astype(int):
        canvas = np.zeros((500, 500), dtype=np.uint8, order='F')
        canvas[top:bottom, left:right] = 1
        masks.append(coco_mask.encode(canvas))
    return dataclasses.replace(objects, boxes_xyxy=boxes, masks=masks)


def _found(truth, rng, *, noise) -> Detections:
    boxes = truth.boxes_xyxy + rng.normal(0, noise, truth.boxes_xyxy.shape)
    images = [dict(img_id=image, bboxes=boxes[own], scores=rng.random(len(own)), labels=truth.labels[own])
              for image, own in zip(truth.image_ids, truth.by_image, strict=True)]
    return to_detections(images, truth.image_ids)


def _compare(truth, base, other):
    measures = [Resampled(match(truth, one).classes) for one in (base, other)]
    return bootstrap(measures, len(truth.image_ids), num_resamples=200).difference(1, 0)
