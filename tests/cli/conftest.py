"""A data set of a few drawn images and a detector small enough to train in a second."""

import itertools
import json
import textwrap

import cv2
import numpy as np
import pytest

SIZE = 64
_names = itertools.count()


def draw_coco(folder, num_images=4):
    """Bright rectangles on noise, the last image without any; ids that are neither dense nor in the order of names."""
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir(parents=True)
    (folder / 'maps').mkdir()
    images, annotations = [], []
    for index in range(num_images):
        image = rng.integers(0, 80, (SIZE, SIZE, 3), dtype=np.uint8)
        semantic_map = np.full((SIZE, SIZE), 255, dtype=np.uint8)
        for label in range(2) if index < num_images - 1 else ():
            x, y, width, height = (int(value) for value in rng.integers([0, 0, 16, 16], [30, 30, 32, 32]))
            image[y : y + height, x : x + width] = [255 * label, 0, 255 * (1 - label)]
            semantic_map[y : y + height, x : x + width] = label
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=[7, 3][label],
                    bbox=[x, y, width, height],
                    area=width * height,
                    iscrowd=0,
                )
            )
        cv2.imwrite(str(folder / 'images' / f'{index}.png'), image)
        cv2.imwrite(str(folder / 'maps' / f'{index}.png'), semantic_map)
        images.append(dict(id=index + 1, file_name=f'{index}.png', width=SIZE, height=SIZE))
    categories = [dict(id=3, name='cat'), dict(id=7, name='dog')]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'ann.json').write_text(json.dumps(content))
    return folder


RUNTIME = """
default_scope = 'mmdet'
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'),
    visualization=dict(type='DetVisualizationHook'),
    progress=dict(type='ProgressHook'),
    summary=dict(type='SummaryHook', num_images=2),
)
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl'))
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
randomness = dict(seed=0)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
"""

DETECTION = """
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]
dataset = dict(
    type='CocoDetection', data_root=data_root, ann_file='ann.json', data_prefix=dict(img='images'),
    metainfo=dict(classes=('dog', 'cat')), pipeline=pipeline)
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset=dataset)
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True, **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoEvaluation', ann_file=data_root + '/ann.json')
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255],
    pad_size_divisor=32), backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2),
    num_stages=3, strides=(1, 2, 2),
                  dilations=(1, 1, 1)),
    neck=dict(type='FPN', in_channels=[16, 32], out_channels=16, num_outs=2),
    bbox_head=dict(
        type='RetinaHead', num_classes=2, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=3, scales_per_octave=1, ratios=[1.0],
                              strides=[8, 16]),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss')),
    train_cfg=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
                   sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5),
                  max_per_img=20))
"""

SEGMENTATION = """
default_scope = 'mmseg'
default_hooks['visualization'] = dict(type='SegVisualizationHook')
default_hooks['checkpoint'] = dict(type='CheckpointHook', by_epoch=False, interval=2, save_best='mIoU')
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(by_epoch=False)
dataset = dict(
    type='BaseSegDataset', data_root=data_root, data_prefix=dict(img_path='images', seg_map_path='maps'),
    img_suffix='.png', metainfo=dict(classes=('dog', 'cat'), palette=[[255, 0, 0], [0, 0, 255]]),
    pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True), dataset=dataset)
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[0, 0, 0], std=[255, 255, 255], size=(64, 64),
                           pad_val=0, seg_pad_val=255, test_cfg=dict(size_divisor=32)),
    backbone=dict(type='ResNetV1c', depth=18, base_channels=8, out_indices=(0, 1, 2, 3)),
    decode_head=dict(type='FCNHead', in_channels=64, in_index=3, channels=8, num_convs=1, concat_input=False,
                     num_classes=2, loss_decode=dict(type='CrossEntropyLoss')),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
"""


@pytest.fixture(scope='session')
def coco_folder(tmp_path_factory):
    return draw_coco(tmp_path_factory.mktemp('data') / 'coco')


def write_config(folder, data_root, body, extra=''):
    # The name is new each time: mmengine keeps one logger per name and second.
    path = folder / f'tiny{next(_names)}.py'
    path.write_text(f'data_root = {str(data_root)!r}\n' + RUNTIME + body + textwrap.dedent(extra))
    return path


@pytest.fixture
def detection_config(tmp_path, coco_folder):
    """Writes the config of the tiny detector with `extra` lines at its end; returns its path."""
    return lambda extra='': write_config(tmp_path, coco_folder, DETECTION, extra)


@pytest.fixture
def segmentation_config(tmp_path, coco_folder):
    return lambda extra='': write_config(tmp_path, coco_folder, SEGMENTATION, extra)


@pytest.fixture(scope='session')
def trained(tmp_path_factory, coco_folder):
    """`(config, checkpoint)` of the tiny detector after one epoch. Read-only."""
    from detrove.cli import main

    folder = tmp_path_factory.mktemp('trained')
    config = write_config(folder, coco_folder, DETECTION)
    assert main(['train', str(config), '--work-dir', str(folder / 'work')]) == 0
    return config, folder / 'work' / 'epoch_1.pth'
