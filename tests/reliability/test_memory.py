"""What testing keeps of an image: its predictions, and nothing of the picture, the batch or the masks' pixels."""

import gc

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.structures import InstanceData

from detrove.evaluation import CocoEvaluation
from detrove.evaluation.coco_format import compact_prediction
from detrove.reliability.memory import MemoryHook, bytes_per_image, evaluation_config, run_test

DETECTIONS = 20


def prediction(*, masks_hw=None, candidates=5000):
    """Of an image, as models give it: the best of many candidates, which are views of all of them."""
    found = InstanceData(bboxes=torch.rand(candidates, 4), scores=torch.rand(candidates),
                         labels=torch.zeros(candidates, dtype=torch.long))[:DETECTIONS]
    if masks_hw:
        found.masks = torch.zeros(DETECTIONS, *masks_hw, dtype=torch.bool)
        found.masks[:, 10:30, 10:30] = True
    return DetDataSample(metainfo=dict(img_id=1), pred_instances=found).to_dict()


def bytes_held(value):
    """Of the arrays in a prediction, with what they are views of, and of its texts."""
    if isinstance(value, np.ndarray):
        return bytes_held(value.base) if value.base is not None else value.nbytes
    if isinstance(value, torch.Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, dict | list):
        return sum(map(bytes_held, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str) else 8


def test_predictions_are_kept_without_what_they_were_chosen_from():
    arrays = DETECTIONS * (16 + 4 + 8)
    assert bytes_held(compact_prediction(prediction())) < arrays + 100
    kept = compact_prediction(prediction(masks_hw=(480, 640)))  # 6 MiB as arrays
    assert bytes_held(kept) < arrays + DETECTIONS * 100


class Living(Hook):
    """How many samples and images live, and what the evaluation keeps, after each batch."""

    def __init__(self):
        self.samples, self.images, self.kept = [], [], []

    def before_test(self, runner):
        gc.freeze()  # what lives already is not looked at again

    def after_test(self, runner):
        gc.unfreeze()

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        gc.collect()
        found = gc.get_objects()
        self.samples.append(sum(type(one) is DetDataSample for one in found))
        self.images.append(sum(type(one) is torch.Tensor and one.shape[-2:] == (64, 64) for one in found))
        (metric,) = runner.test_evaluator.metrics
        assert isinstance(metric, CocoEvaluation)
        self.kept.append(bytes_held(metric.results))


def test_a_test_keeps_predictions_alone(tmp_path):
    """48 images in six batches through data loader, model and evaluation."""
    living = Living()
    run_test(evaluation_config(tmp_path, images=48, detections=DETECTIONS, masks=True, workers=0), living)
    assert max(living.samples[1:]) == living.samples[1] <= 16
    assert max(living.images[1:]) == living.images[1]
    steps = np.diff(living.kept)
    assert len(steps) == 5 and 8 * DETECTIONS * 28 <= steps.min() <= steps.max() <= 8 * DETECTIONS * 100


def test_growth_per_image():
    samples = [(100, 50_000)] + [(100 * n, 300_000 + 700 * 100 * n) for n in range(2, 9)]
    assert bytes_per_image(samples) == 700
    assert MemoryHook().samples == []
