"""What `check_config` and `--cfg-options` object to, and what they let pass."""

import json

import pytest
from mmengine.config import Config

from detrove.engine.config_check import check_config, load_config

MODEL = dict(
    type='RetinaNet',
    backbone=dict(type='ResNet', depth=18, norm_cfg=dict(type='BN', requires_grad=True)),
    neck=dict(type='FPN', in_channels=[64, 128], out_channels=8, num_outs=2),
    bbox_head=dict(
        type='RetinaHead',
        num_classes=2,
        in_channels=8,
        anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8, 16]),
        loss_cls=dict(type='FocalLoss'),
    ),
    train_cfg=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4), pos_weight=-1),
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=10),
)


@pytest.fixture
def data_root(tmp_path):
    (tmp_path / 'images').mkdir()
    content = dict(
        images=[dict(id=1, file_name='1.png', width=8, height=8)],
        annotations=[],
        categories=[dict(id=2, name='cat'), dict(id=1, name='dog')],
    )
    (tmp_path / 'ann.json').write_text(json.dumps(content, indent=1))
    return tmp_path


@pytest.fixture
def make_config(data_root):
    """A complete config; keyword arguments are dotted keys with `__` for the dot."""

    (data_root / 'mine.py').write_text('')

    def make(**changes):
        dataset = dict(
            type='CocoDetection',
            data_root=str(data_root),
            ann_file='ann.json',
            data_prefix=dict(img='images'),
            metainfo=dict(classes=('dog', 'cat')),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')],
        )
        cfg = Config(
            dict(
                default_scope='mmdet',
                model=MODEL,
                work_dir=str(data_root / 'work'),
                train_dataloader=dict(batch_size=1, dataset=dataset, sampler=dict(type='DefaultSampler')),
                train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
                optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4)),
                param_scheduler=[dict(type='LinearLR', start_factor=0.1, convert_to_iter_based=True)],
                default_hooks=dict(logger=dict(type='LoggerHook', interval=1, priority='LOW')),
                vis_backends=[dict(type='LocalVisBackend')],
            ),
            filename=str(data_root / 'mine.py'),
        )
        cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
        return cfg

    return make


def test_a_right_config_passes(make_config):
    check_config(make_config(), mode='train')
    check_config(make_config(dataset_type='x', lr=1, crop_size=(8, 8), train_pipeline=[]), mode='train')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(train_dataloder={}), "unknown key train_dataloder; did you mean 'train_dataloader'"),
        (dict(model__backbone__depht=18), "model.backbone.depht: ResNet has no argument 'depht'.*'depth'"),
        (dict(model__bbox_head__stacked_conv=1), "no argument 'stacked_conv'; did you mean 'stacked_convs'"),
        (dict(model__bbox_head__loss_cls__typo=1), "FocalLoss has no argument 'typo'"),
        (dict(model__type='RetinaNett'), "'RetinaNett' is not registered in MODELS.*did you mean 'RetinaNet'"),
        (
            dict(model__type='EncoderDecoder'),
            "'EncoderDecoder' is not registered in MODELS .* of mmdet, but in mmseg: "
            "write type='mmseg.EncoderDecoder', or set default_scope='mmseg'",
        ),
        (
            dict(default_scope='mmseg', model__type='mmseg.RetinaNet'),
            "'mmseg.RetinaNet' is not registered in .* of mmseg, but in mmdet: write type='mmdet.RetinaNet'",
        ),
        (dict(train_dataloader__dataset__pipeline=[dict(type='PackSegInputs')]), "type='mmseg.PackSegInputs'"),
        (dict(model__train_cfg__assigner__type='MaxIouAssigner'), "did you mean 'MaxIoUAssigner'"),
        (dict(train_dataloader__dataset__pipeline=[dict(type='LoadImage')]), 'dataset.pipeline.0.type'),
        (dict(default_hooks__logger__intervall=1), "did you mean 'interval'"),
        (dict(optim_wrapper__optimizer__weight_decy=0), "did you mean 'weight_decay'"),
        (dict(train_cfg__max_epoch=1), "no argument 'max_epoch'; did you mean 'max_epochs'"),
        (dict(model__bbox_head__num_classes=80), r"num_classes is 80, but train_dataloader.dataset has 2 .*'cat'\]"),
        (dict(train_dataloader__dataset__ann_file='x.json'), 'no file .*x.json; that folder has ann.json'),
        (dict(train_dataloader__dataset__ann_file=''), 'ann_file: expected the name of a COCO json'),
        (dict(train_dataloader__dataset__ann_file='.'), 'ann_file: no file '),
        (dict(train_dataloader__dataset__data_root='/nowhere'), 'data_root: no folder /nowhere'),
        (dict(train_dataloader__dataset__data_prefix__img='imgs'), 'data_prefix.img: no folder .*imgs'),
        (
            dict(train_dataloader__dataset__metainfo__classes=('dog', 'horse')),
            r"(?s)no categories \['horse'\].*\['dog', 'horse'\].*\['cat', 'dog'\]",
        ),
        (dict(train_dataloader__dataset__type='CocoDataset'), "use type='CocoDetection'"),
        (dict(load_from='gone.pth'), 'checkpoint not found: .*gone.pth'),
    ],
)
def test_wrong_configs(make_config, changes, message):
    with pytest.raises(ValueError, match=message):
        check_config(make_config(**changes), mode='train')


def test_all_problems_are_listed(make_config):
    with pytest.raises(ValueError, match=r'(?s)config .*mine.py: 2 problems.*depht.*gone.pth'):
        check_config(make_config(model__backbone__depht=18, load_from='gone.pth'), mode='train')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'no list images and no list categories'),
        ('[]', 'is not COCO json'),
        ('{"images": [], "annotations": []}', 'no list categories'),
        ('{"images": [], "categories": [', 'is not complete json'),
    ],
)
def test_files_that_are_not_coco(make_config, data_root, content, message):
    (data_root / 'ann.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        check_config(make_config(), mode='train')


def test_testing_looks_at_the_test_set_alone(make_config):
    check_config(make_config(train_dataloader__dataset__ann_file='x.json'), mode='test')


def test_work_dir_below_a_file(make_config, data_root):
    with pytest.raises(ValueError, match='ann.json is a file'):
        check_config(make_config(work_dir=str(data_root / 'ann.json' / 'work')), mode='train')


@pytest.fixture
def config_file(make_config, tmp_path):
    make_config(data_root='x').dump(tmp_path / 'dumped.py')
    return str(tmp_path / 'dumped.py')


@pytest.mark.parametrize(
    'override',
    [
        {'model.backbone.depth': 50},
        {'model.backbone.frozen_stages': 1},  # an argument that the config did not set
        {'model.test_cfg.score_thr': 0.1},
        {'train_dataloader.num_workers': 0},
        {'optim_wrapper.clip_grad.max_norm': 0.1},
        {'randomness.seed': 1},
        {'train_dataloader.dataset.pipeline.0.to_float32': True},
        {'default_hooks.checkpoint.type': 'CheckpointHook'},
    ],
)
def test_overrides_that_fit(config_file, override):
    cfg = load_config(config_file, override)
    [(key, value)] = override.items()
    node = cfg
    for part in key.split('.'):
        node = node[int(part)] if part.isdigit() else node[part]
    assert node == value


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ({'model.backbone.depht': 50}, "model.backbone has no 'depht'; did you mean 'depth'"),
        ({'modl.backbone.depth': 50}, "no such setting; did you mean 'model'"),
        ({'model.bakbone.depth': 50}, "model has no 'bakbone'; did you mean 'backbone'"),
        ({'model.test_cfg.max_per_image': 5}, "did you mean 'max_per_img'"),
        ({'train_dataloader.batchsize': 5}, "did you mean 'batch_size'"),
        ({'train_dataloader.dataset.pipeline.7.type': 'x'}, "pipeline is a list of 2, '7' is no index"),
        ({'model.backbone.depth.x': 5}, 'model.backbone.depth is 18 and has nothing below it'),
        ({'data_root': '/d'}, 'has no effect. Set train_dataloader.dataset.data_root instead'),
    ],
)
def test_overrides_that_go_nowhere(config_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_config(config_file, override)
