"""Fine-tuning on other classes: which rows a checkpoint gives to a model with other classes."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from detrove.apis import build_model
from detrove.checkpoints import match_classes
from detrove.engine.config_check import load_config
from projects.rank_detr.rank_adaptive_head import RankAdaptiveHead

OLD = ['person', 'cat', 'dog', 'sheep']
NEW = ['dog', 'platypus', 'person']  # places 2, none, 0 in OLD
NANO = 'configs/rt_detr/rtdetr_nano_shapes.py'
HEADS = dict(
    detr=['bbox_head.class_heads.0', 'bbox_head.class_heads.1', 'query_selection.class_head'],
    retina=['bbox_head.retina_cls'],
    mask_rcnn=['roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg', 'roi_head.mask_head.conv_logits'],
    segmentor=['decode_head.conv_seg', 'auxiliary_head.conv_seg'],
)


def settings_of(kind, num_classes):
    """A model config of each family, small."""
    if kind == 'detr':
        model = load_config(NANO).model
        model.bbox_head.num_classes = num_classes
        return model
    backbone = dict(type='mmdet.ResNet', depth=18, base_channels=4, out_indices=(2, 3))
    neck = dict(type='mmdet.FPN', in_channels=[16, 32], out_channels=8, num_outs=2)
    if kind == 'retina':
        anchors = dict(type='mmdet.AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[0.5, 1.0, 2.0],
                       strides=[16, 32])
        return dict(type='mmdet.RetinaNet', backbone=backbone, neck=neck, bbox_head=dict(
            type='mmdet.RetinaHead', num_classes=num_classes, in_channels=8, feat_channels=8, stacked_convs=1,
            anchor_generator=anchors))
    if kind == 'segmentor':
        head = dict(type='mmseg.FCNHead', in_channels=32, in_index=1, channels=8, num_convs=1, concat_input=False,
                    num_classes=num_classes)
        return dict(type='mmseg.EncoderDecoder', backbone=backbone, decode_head=head, auxiliary_head=head)
    cfg = Config.fromfile('configs/_base_/models/mask-rcnn_fpn.py')
    classes = dict(num_classes=num_classes)
    cfg.model.update(backbone=backbone, neck=dict(neck, num_outs=5))
    cfg.merge_from_dict(dict(model=dict(
        rpn_head=dict(in_channels=8, feat_channels=8),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=8), mask_roi_extractor=dict(out_channels=8),
            bbox_head=dict(in_channels=8, fc_out_channels=8, **classes),
            mask_head=dict(in_channels=8, conv_out_channels=8, num_convs=1, **classes)))))
    return cfg.model


def build(kind, num_classes):
    scope = 'mmseg' if kind == 'segmentor' else 'mmdet'
    settings = settings_of(kind, num_classes)
    return settings, build_model(Config(dict(model=copy.deepcopy(settings), default_scope=scope)))


def checkpoint_of(model, classes=OLD):
    weights = {name: torch.rand_like(value.float()) for name, value in model.state_dict().items()}
    return dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=classes)))


def by_class(kind, name, tensor, num_classes):
    """An entry as (classes, ...), without the row of the background."""
    if 'retina' in name:
        return tensor.unflatten(0, (3, num_classes)).movedim(1, 0)
    if 'fc_reg' in name:
        return tensor.unflatten(0, (num_classes, 4))
    return tensor[:num_classes]


@pytest.mark.parametrize('kind', HEADS)
def test_rows_follow_the_names(kind):
    _, old = build(kind, len(OLD))
    settings, new = build(kind, len(NEW))
    checkpoint, fresh = checkpoint_of(old), new.state_dict()
    weights, rows = match_classes(new, checkpoint, NEW, settings)
    assert (rows.kept, rows.new, rows.left_out) == (('dog', 'person'), ('platypus',), ('cat', 'sheep'))
    names = {f'{head}.{kind}' for head in HEADS[kind] for kind in ('weight', 'bias')}
    assert set(rows.entries) - {'denoising.label_embedding.weight'} == names
    for name in names:
        found = by_class(kind, name, checkpoint['state_dict'][name], len(OLD))
        mine, start = (by_class(kind, name, value, len(NEW)) for value in (weights[name], fresh[name]))
        assert torch.equal(mine[0], found[2]) and torch.equal(mine[2], found[0]), name
        assert torch.equal(mine[1], start[1]), name
    assert not new.load_state_dict(weights).missing_keys


def test_row_of_no_class_is_kept():
    _, old = build('mask_rcnn', len(OLD))
    _, new = build('mask_rcnn', len(NEW))
    checkpoint = checkpoint_of(old)
    weights, _ = match_classes(new, checkpoint, NEW)
    name = 'roi_head.bbox_head.fc_cls.weight'
    assert len(weights[name]) == 4 and torch.equal(weights[name][-1], checkpoint['state_dict'][name][-1])
    _, old = build('detr', len(OLD))
    _, new = build('detr', len(NEW))
    table = match_classes(new, checkpoint_of(old), NEW)[0]['denoising.label_embedding.weight']
    assert len(table) == 4


@pytest.mark.parametrize('kind', ['detr', 'mask_rcnn'])
def test_as_many_classes_in_another_order(kind):
    settings, model = build(kind, len(OLD))
    init_default_scope('mmdet')
    others = ['sheep', 'platypus', 'cat', 'person']
    checkpoint = checkpoint_of(model)
    weights, rows = match_classes(model, checkpoint, others, settings)
    assert rows.kept == ('sheep', 'cat', 'person')
    assert set(rows.entries) >= {f'{head}.weight' for head in HEADS[kind]}
    name = f'{HEADS[kind][0]}.weight'
    assert weights[name][[0, 2, 3]].equal(checkpoint['state_dict'][name][[3, 1, 0]])
    trunk = set(weights) - set(rows.entries)
    assert all(weights[name] is checkpoint['state_dict'][name] for name in trunk)


def test_columns_of_ranks():
    """Rank-DETR's tables have classes in their second dimension."""
    old, new = (RankAdaptiveHead(num_queries=5, num_classes=number, embed_dims=8, num_layers=2) for number in (4, 3))
    checkpoint = checkpoint_of(old)
    weights, rows = match_classes(new, checkpoint, NEW)
    assert 'rank_logits.1.weight' in rows.entries
    found = checkpoint['state_dict']['rank_logits.1.weight']
    assert weights['rank_logits.1.weight'][:, [0, 2]].equal(found[:, [2, 0]])


@pytest.mark.parametrize('classes', [OLD, None])
def test_nothing_to_do(classes):
    _, model = build('segmentor', len(OLD))
    checkpoint = checkpoint_of(model)
    weights, rows = match_classes(model, checkpoint, classes)
    assert rows is None and weights is checkpoint['state_dict']
    del checkpoint['meta']
    assert match_classes(model, checkpoint, NEW)[1] is None


def test_what_differs_for_another_reason_stays():
    """A number of queries is no number of classes."""
    old, new = torch.nn.Embedding(900, 8), torch.nn.Embedding(300, 8)
    assert match_classes(new, checkpoint_of(old), NEW)[1] is None


@pytest.mark.parametrize(('marks', 'rows'), [(True, 91), (False, 80)])
def test_official_checkpoints_have_the_names_of_coco(monkeypatch, marks, rows):
    """DETR's heirs number rows by COCO's category ids, others from 0 to 79; neither states names."""
    from detrove.checkpoints import conversion

    official = conversion.Converter('test', ('official.mark',), lambda weights, model: weights.pop('official.mark'))
    monkeypatch.setattr(conversion, '_CONVERTERS', [official])
    _, old = build('detr', rows)
    settings, new = build('detr', 2)
    checkpoint = dict(state_dict={**checkpoint_of(old)['state_dict'], 'official.mark': torch.zeros(1)})
    weights, found = match_classes(new, checkpoint, ['platypus', 'toothbrush'], settings)
    assert found.kept == ('toothbrush',) and found.new == ('platypus',) and len(found.left_out) == 79
    name = 'bbox_head.class_heads.1.weight'
    assert weights[name][1].equal(checkpoint['state_dict'][name][90 if rows == 91 else 79])
    assert 'official.mark' not in weights


def test_report_names_what_is_new():
    _, old = build('segmentor', len(OLD))
    _, new = build('segmentor', len(NEW))
    text = str(match_classes(new, checkpoint_of(old), NEW)[1])
    assert 'new, left as initialised (1 of 3): platypus' in text and 'kept from the checkpoint (2 of 3): dog' in text
