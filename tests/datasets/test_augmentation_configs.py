"""The data configs that mix images, and LVIS's, give what a model can train on."""

from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config

import detrove.datasets  # noqa: F401  registers
from detrove.benchmark.data_made import CLASSES, write_coco_folder

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('coco')
    write_coco_folder(root, 8, 60)
    return root


@pytest.mark.parametrize(('name', 'size_hw', 'masks'), [
    ('rtdetr-mosaic_r18vd_8xb2-72e_coco.py', (640, 640), False),
    ('dino-4scale-ins-lsj_r50_8xb2-12e_coco.py', (1024, 1024), True)])
def test_mixed_images(folder, name, size_hw, masks):
    register_all_modules()
    dataset = Config.fromfile(CONFIGS / 'combinations' / name).train_dataloader.dataset
    dataset.dataset.update(data_root=str(folder), ann_file='train.json', data_prefix=dict(img='images'),
                           metainfo=dict(classes=CLASSES))
    np.random.seed(0)
    data = DATASETS.build(dataset)
    for index in range(3):
        packed = data[index]
        instances = packed['data_samples'].gt_instances
        boxes_xyxy = instances.bboxes.tensor
        assert packed['inputs'].shape == (3, *size_hw) and packed['inputs'].is_contiguous()
        assert len(boxes_xyxy) == len(instances.labels) and boxes_xyxy.min() >= 0
        assert (boxes_xyxy[:, 2] <= size_hw[1]).all() and (boxes_xyxy[:, 3] <= size_hw[0]).all()
        assert ('masks' in instances) == masks


def test_lvis_needs_no_package():
    config = Config.fromfile(CONFIGS / '_base_/datasets/lvis_v1.py')
    assert config.train_dataloader.dataset.type == 'ClassBalancedDataset'
    assert config.train_dataloader.dataset.dataset.type == config.val_dataloader.dataset.type == 'CocoDetection'
    assert config.val_evaluator.type == 'LvisEvaluation' and config.val_evaluator.metric == ['bbox', 'segm']
    assert 'metainfo' not in config.val_dataloader.dataset
