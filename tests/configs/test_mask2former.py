"""Mask2Former's configs: sizes of the paper, data that fits the heads, and real steps of the small one."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import DATASETS as SEG_DATASETS

import detrove.compat.mmcv_msda as mmcv_msda
from detrove.apis import build_model
from detrove.checkpoints import load_weights
from detrove.checkpoints.deterministic import deterministic_images
from detrove.cli import main
from detrove.datasets.shapes import ensure_shapes
from detrove.datasets.shapes_drawing import ShapesSettings
from detrove.engine.config_check import load_config
from detrove.engine.optim import RegexOptimWrapperConstructor

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/mask2former'
NANO = CONFIGS / 'mask2former_swin-nano_shapes.py'
EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob('*.py') if path != NANO)
# millions of parameters: Mask2Former (Cheng et al. 2022), table I, and DiNAT's page of results
PARAMETERS = {'swin-t': 47, 'swin-s': 69, 'swin-b': 107, 'swin-l': 216, 'dinat-l': 220}
FEW = ShapesSettings(num_train=4, num_val=3, sizes_hw=((96, 128), (112, 96)), diameter=(20, 60))


def test_eight_tasks_with_five_backbones():
    assert len(EXPERIMENTS) == 40
    for backbone in PARAMETERS:
        assert sum(f'_{backbone}_' in name for name in EXPERIMENTS) == 8


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_data_and_heads_fit(name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    registry = SEG_DATASETS if config.default_scope == 'mmseg' else DATASETS
    classes = registry.get(config.train_dataloader.dataset.type).METAINFO
    head = config.model.get('panoptic_head', config.model.get('decode_head'))
    if 'thing_classes' in classes:
        counts = len(classes['thing_classes']), len(classes['stuff_classes'])
        assert (head.num_things_classes, head.num_stuff_classes) == counts
        assert list(classes['classes'][:counts[0]]) == list(classes['thing_classes'])
    total = len(classes['classes'])
    assert head.get('num_classes', head.get('num_things_classes', 0) + head.get('num_stuff_classes', 0)) == total
    assert head.loss_cls.class_weight == [1.0] * total + [0.1]
    pipeline = config.train_dataloader.dataset.pipeline
    (crop,) = [step.crop_size for step in pipeline if step.type == 'RandomCrop']
    if config.default_scope == 'mmseg':
        assert tuple(config.model.data_preprocessor.size) == tuple(crop)  # (height, width) in mmseg
    else:
        (pad,) = config.model.data_preprocessor.batch_augments
        assert tuple(pad.size) == tuple(crop)[::-1]  # (width, height) in mmdet's crop
    assert config.train_cfg.max_iters == {'100e': 737500, '-50e': 368750, '160k': 160000, '-90k': 90000}[
        re.search(r'100e|-50e|160k|-90k', name.replace('_', '-'))[0]]


@pytest.mark.parametrize('name', [name for name in EXPERIMENTS if name.endswith('_coco')])
def test_sizes_and_optimiser_groups(name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    with torch.device('meta'):
        model = build_model(config)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    (backbone,) = [key for key in PARAMETERS if f'_{key}_' in name]
    assert abs(millions - PARAMETERS[backbone]) < 1
    constructor = RegexOptimWrapperConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg)
    rates = {}
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    for group in constructor.parameter_groups(model):
        for parameter in group['params']:
            rates[names[id(parameter)]] = group.get('lr', 1e-4), group.get('weight_decay', 0.05)
    assert rates['panoptic_head.query_feat.weight'] == rates['panoptic_head.level_embed.weight'] == (1e-4, 0.0)
    assert rates['panoptic_head.pixel_decoder.input_convs.0.gn.weight'] == (1e-4, 0.0)
    assert rates['panoptic_head.cls_embed.weight'] == rates['panoptic_head.cls_embed.bias'] == (1e-4, 0.05)
    assert rates['backbone.norm0.weight'] == (1e-5, 0.0)
    attention = 'backbone.stages.0.blocks.0.attn.'
    bias = {'d': ('rpb', 0.05), 's': ('relative_position_bias_table', 0.0)}[backbone[0]]  # as the official codes
    assert rates[attention + bias[0]] == (1e-5, bias[1])
    assert rates[attention + 'qkv.weight'] == (1e-5, 0.05)


def make_batch(counts, size_hw=(64, 96), stuff=()):
    inputs, samples = torch.rand(len(counts), 3, *size_hw), []
    for count in counts:
        masks = np.zeros((count, *size_hw), np.uint8)
        for i, mask in enumerate(masks):
            mask[8 * i:8 * i + 20, 10 * i:10 * i + 30] = 1
        sample = DetDataSample(metainfo=dict(
            img_shape=size_hw, batch_input_shape=size_hw, ori_shape=(40, 60), scale_factor=(1.6, 1.6)))
        labels = torch.arange(count) % 6
        sample.gt_instances = InstanceData(bboxes=torch.rand(count, 4), labels=labels,
                                           masks=BitmapMasks(masks, *size_hw))
        sem_seg = torch.full((1, *size_hw), 255)
        for i, label in enumerate(stuff):
            sem_seg[:, 40 + 10 * i:50 + 10 * i] = label
        sample.gt_sem_seg = PixelData(sem_seg=sem_seg)
        samples.append(sample)
    return inputs, samples


@pytest.mark.parametrize('panoptic', [False, True])
def test_a_step_on_our_operators(panoptic, monkeypatch):
    """Losses, gradients and predictions; the pixel decoder attends through `detrove.ops`."""
    config = Config.fromfile(NANO)
    if panoptic:
        config.merge_from_dict({
            'model.panoptic_head.num_stuff_classes': 2, 'model.panoptic_fusion_head.num_stuff_classes': 2,
            'model.panoptic_head.loss_cls.class_weight': [1.0] * 8 + [0.1], 'model.test_cfg.panoptic_on': True})
    torch.manual_seed(0)
    model = build_model(config).train()
    calls, ms_deform_attn = [], mmcv_msda.ms_deform_attn
    monkeypatch.setattr(mmcv_msda, 'ms_deform_attn', lambda *args: calls.append(1) or ms_deform_attn(*args))
    inputs, samples = make_batch((3, 0), stuff=(6, 7) if panoptic else ())
    losses = model.loss(inputs, samples)
    assert len(calls) == 2  # as many as the pixel decoder has layers
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    with torch.no_grad():
        predicted = model.eval().predict(inputs, samples)[0]
    assert predicted.pred_instances.masks.shape[1:] == (40, 60)
    if panoptic:
        assert predicted.pred_panoptic_seg.sem_seg.shape == (1, 40, 60)


@pytest.mark.slow
def test_small_config_trains_and_tests(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('detrove.datasets.shapes.ensure_shapes', lambda root: ensure_shapes(root, FEW))
    options = ['--work-dir', 'work', '--cfg-options']
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    short = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=2',
             'default_hooks.checkpoint.interval=1']
    assert main(['train', str(NANO), *options, *short]) == 0
    capsys.readouterr()
    assert main(['test', str(NANO), 'work/epoch_1.pth', '--show-dir', 'drawn', *options]) == 0
    assert re.search(r'Epoch\(test\) .*segm_mAP: \d', capsys.readouterr().out)
    assert len(list((tmp_path / 'work').rglob('drawn/*.jpg'))) == 3


@torch.no_grad()
def test_weights_of_mmdet_give_the_same_predictions():
    """MMDetection's checkpoints, which have its own Swin, load into these configs."""
    stock = load_config('mmdet::mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco.py')
    ours = Config.fromfile(CONFIGS / 'mask2former_swin-t_8xb2-lsj-50e_coco.py')
    theirs, model = (build_model(config, {'model.backbone.init_cfg': None}).eval() for config in (stock, ours))
    for parameter in theirs.parameters():
        if parameter.dim() > 1:  # norms stay
            torch.nn.init.normal_(parameter, std=0.05)
    load_weights(model, theirs.state_dict(), source='mask2former.pth', must_be_complete=True)
    images = deterministic_images(1, 64, 96)
    for found, expected in zip(model.extract_feat(images), theirs.extract_feat(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    samples = make_batch((0,))[1]
    found, expected = (one.panoptic_head.predict(one.extract_feat(images), samples) for one in (model, theirs))
    for ours, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-3)
