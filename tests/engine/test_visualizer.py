"""Boxes beyond the border are drawn on it, and stay as predicted."""

import numpy as np
import pytest
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from detrove.engine.visualizer import ClippedDetVisualizer

BOXES = [[-30.0, -20, 60, 50], [40, 30, 150, 90], [10, 10, 20, 20]]


def draw(boxes):
    visualizer = ClippedDetVisualizer()
    visualizer.dataset_meta = dict(classes=('a',), palette=[(255, 0, 0)])
    labels, scores = torch.zeros(len(boxes), dtype=torch.long), torch.ones(len(boxes))
    sample = DetDataSample()
    sample.pred_instances = InstanceData(bboxes=boxes, labels=labels, scores=scores)
    visualizer.add_datasample('image', np.full((60, 80, 3), 90, dtype=np.uint8), sample, draw_gt=False)
    return visualizer.get_image()


@pytest.mark.filterwarnings('error::UserWarning')  # mmengine's, of boxes beyond the image
@pytest.mark.parametrize('make', [torch.tensor, np.array])
def test_outside(make):
    boxes = make(BOXES)
    drawn = draw(boxes)
    assert drawn.shape == (60, 80, 3)
    assert not (drawn > 240).all(axis=-1).any(), 'white paper around the image'
    red = drawn[..., 0].astype(int) - drawn[..., 1] > 60
    assert red[20:28, 60].all() and red[30, 70:].all()  # edges inside are where they were, labels aside
    assert red[45, 0] and red[45, 79]  # others lie on the border
    assert boxes.tolist() == BOXES


def test_no_objects():
    assert (draw(torch.zeros(0, 4)) == 90).all()


def test_the_base_config_uses_it(pytestconfig):
    config = Config.fromfile(pytestconfig.rootpath / 'configs/_base_/default_runtime.py')
    assert VISUALIZERS.get(config.visualizer.type) is ClippedDetVisualizer
