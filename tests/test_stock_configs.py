"""Configs shipped with mmdet and mmseg train one step and predict, on the runner that tools/train.py builds.

Pipelines, losses, optimisers, schedules and metrics stay as shipped; detrove's CocoEvaluation runs beside mmdet's
CocoMetric. Overridden are the data, the number of classes, pretrained weights, score thresholds that would leave a
model without training nothing to return, and what makes a step long: image size, numbers of queries, masks and
sampled mask points, workers, the length of training.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from detrove.datasets.shapes import ensure_shapes
from detrove.datasets.shapes_drawing import CLASSES, PALETTE, ShapesSettings
from detrove.engine.config_check import check_config, load_config
from detrove.engine.config_file import walk_typed
from detrove.engine.runner import build_runner

# With this seed the first image of training and the second of validation have no objects. All images are wider than
# high: mmdet puts those into one batch.
SHAPES = ShapesSettings(
    seed=2,
    num_train=8,
    num_val=4,
    sizes_hw=((128, 160), (112, 144)),
    empty_fraction=0.2,
    num_objects=(2, 5),
    diameter=(24, 90),
    num_distractors=(1, 2),
    distractor_diameter=(16, 40),
)
# Arguments of transforms, batch augmentations and data preprocessors, (width, height) and (height, width) alike.
SMALL = dict(scale=(160, 160), scales=[(160, 160)], crop_size=(128, 128), size=(128, 128))


class Stock(NamedTuple):
    config: str
    overrides: dict
    metrics: tuple[str, ...]


DETECTION = [
    Stock(
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        {
            'model.backbone.init_cfg': None,
            'model.roi_head.bbox_head.num_classes': len(CLASSES),
            'model.roi_head.mask_head.num_classes': len(CLASSES),
            'model.test_cfg.rcnn.score_thr': 0.0,
            'model.test_cfg.rcnn.max_per_img': 20,
        },
        ('bbox_mAP', 'segm_mAP'),
    ),
    Stock(
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        {
            'model.backbone.init_cfg': None,
            'model.roi_head.bbox_head.num_classes': len(CLASSES),
            'model.test_cfg.rcnn.score_thr': 0.0,
        },
        ('bbox_mAP',),
    ),
    Stock(
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
        {
            'model.backbone.init_cfg': None,
            'model.bbox_head.num_classes': len(CLASSES),
            'model.test_cfg.score_thr': 0.0,
        },
        ('bbox_mAP',),
    ),
    Stock(
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        {
            'model.backbone.init_cfg': None,
            'model.bbox_head.num_classes': len(CLASSES),
            'model.num_queries': 50,  # as many tokens as that are needed
        },
        ('bbox_mAP',),
    ),
    Stock(
        'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
        {
            'model.backbone.init_cfg': None,
            'model.panoptic_head.num_things_classes': len(CLASSES),
            'model.panoptic_head.loss_cls.class_weight': [1.0] * len(CLASSES) + [0.1],
            'model.panoptic_fusion_head.num_things_classes': len(CLASSES),
            'model.train_cfg.num_points': 256,
        },
        ('bbox_mAP', 'segm_mAP'),
    ),
]
SEGMENTATION = Stock(
    'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py',
    {
        'model.pretrained': None,
        'model.decode_head.num_classes': len(CLASSES),
        'model.auxiliary_head.num_classes': len(CLASSES),
    },
    ('aAcc', 'mIoU'),
)


@pytest.fixture(scope='session')
def shapes_folder(tmp_path_factory):
    return ensure_shapes(tmp_path_factory.mktemp('data') / 'shapes', SHAPES)


class Record(Hook):
    """Losses, gradients and changes of one training step; predictions and metrics of the validation after it."""

    def before_train(self, runner):
        parameters = {name: p for name, p in runner.model.named_parameters() if p.requires_grad}
        self.trainable = set(parameters)
        self.initial = {name: p.detach().clone() for name, p in parameters.items()}
        self.finite_gradient = set()
        self.predictions = []
        for name, parameter in parameters.items():
            parameter.register_post_accumulate_grad_hook(lambda p, name=name: self.note_gradient(p, name))

    def note_gradient(self, parameter, name):
        if parameter.grad.isfinite().all():
            self.finite_gradient.add(name)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = {name: value.item() for name, value in outputs.items()}
        now = dict(runner.model.named_parameters())
        self.changed = {name for name in self.trainable if not torch.equal(self.initial[name], now[name])}

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.predictions += outputs

    def after_val_epoch(self, runner, metrics=None):
        self.metrics = metrics


def one_step(work_dir):
    overrides = {
        'launcher': 'none',
        'work_dir': str(work_dir),
        'randomness': dict(seed=0),
        'default_hooks.checkpoint': None,
        'train_cfg': dict(_delete_=True, type='IterBasedTrainLoop', max_iters=1, val_interval=1),
        'train_dataloader.batch_size': 2,
        'train_dataloader.sampler.shuffle': False,
    }
    for loader in ('train_dataloader', 'val_dataloader'):
        overrides |= {f'{loader}.num_workers': 0, f'{loader}.persistent_workers': False}
    return overrides


def train_one_step(stock, data_overrides, work_dir, further_metrics=()):
    cfg = load_config(stock.config, {**one_step(work_dir), **data_overrides, **stock.overrides})
    cfg.val_evaluator = [cfg.val_evaluator, *further_metrics]
    for section in (cfg.train_dataloader, cfg.val_dataloader, cfg.model.data_preprocessor):
        for _, node in walk_typed(section):
            node.update({key: small for key, small in SMALL.items() if node.get(key)})
    check_config(cfg, mode='train')
    runner, record = build_runner(cfg), Record()
    runner.register_hook(record)
    runner.train()
    return record


def assert_trained(record):
    assert 'loss' in record.losses
    assert all(np.isfinite(value) for value in record.losses.values()), record.losses
    assert record.finite_gradient == record.trainable

    # Not every parameter changes in the first step: a residual branch that starts at zero passes no gradient on.
    def parts(names):
        return {name.split('.')[0] for name in names if '.' in name}

    assert parts(record.changed) == parts(record.trainable)


@pytest.mark.parametrize('stock', DETECTION, ids=lambda stock: stock.config)
def test_detection(stock, shapes_folder, tmp_path):
    ann_file = str(shapes_folder / 'annotations' / 'val.json')
    data = {'val_evaluator.ann_file': ann_file}
    for split in ('train', 'val'):
        dataset = f'{split}_dataloader.dataset'
        data |= {
            f'{dataset}.data_root': f'{shapes_folder}/',
            f'{dataset}.ann_file': f'annotations/{split}.json',
            f'{dataset}.data_prefix': dict(_delete_=True, img=f'images/{split}/'),
            f'{dataset}.metainfo': dict(classes=CLASSES),
        }
    iou_types = [name.removesuffix('_mAP') for name in stock.metrics]
    ours = dict(type='CocoEvaluation', ann_file=ann_file, metric=iou_types, prefix='detrove')
    record = train_one_step(stock, data, tmp_path, [ours])
    assert_trained(record)
    assert len(record.predictions) == SHAPES.num_val
    for sample in record.predictions:
        height, width = sample.ori_shape
        assert sample.ori_shape in SHAPES.sizes_hw
        found = sample.pred_instances.numpy()
        assert len(found) > 0
        assert np.isfinite(found.bboxes).all()
        assert (found.bboxes >= 0).all()
        assert (found.bboxes <= np.array([width, height, width, height]) + 1e-3).all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert ((found.labels >= 0) & (found.labels < len(CLASSES))).all()
        if 'segm_mAP' in stock.metrics:
            assert found.masks.shape == (len(found), height, width)
            assert found.masks.dtype == bool
    for name in stock.metrics:
        assert 0 <= record.metrics[f'detrove/{name}'] <= 1
        # mmdet rounds to three places
        assert record.metrics[f'coco/{name}'] == pytest.approx(record.metrics[f'detrove/{name}'], abs=0.00051)


def test_segmentation(shapes_folder, tmp_path):
    data = {}
    for split in ('train', 'val'):
        dataset = f'{split}_dataloader.dataset'
        data |= {
            f'{dataset}.type': 'BaseSegDataset',
            f'{dataset}.reduce_zero_label': True,
            f'{dataset}.data_root': f'{shapes_folder}/',
            f'{dataset}.data_prefix': dict(img_path=f'images/{split}', seg_map_path=f'annotations_semantic/{split}'),
            f'{dataset}.metainfo': dict(classes=CLASSES, palette=PALETTE),
        }
    record = train_one_step(SEGMENTATION, data, tmp_path)
    assert_trained(record)
    assert len(record.predictions) == SHAPES.num_val
    for sample in record.predictions:
        assert sample.ori_shape in SHAPES.sizes_hw
        label_map = sample.pred_sem_seg.data
        assert label_map.shape == (1, *sample.ori_shape)
        assert ((label_map >= 0) & (label_map < len(CLASSES))).all()
        assert sample.seg_logits.data.isfinite().all()
    for name in SEGMENTATION.metrics:
        assert 0 <= record.metrics[name] <= 100
