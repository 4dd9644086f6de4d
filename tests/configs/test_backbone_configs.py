"""Every config of another library's detector or segmentor builds and runs, on the meta device: no value is computed.

Those of OneDETR are in test_configs.py.
"""

import functools
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, OPTIMIZERS, PARAM_SCHEDULERS, TRANSFORMS, init_default_scope
from torch import nn

import detrove.projects  # noqa: F401  registers every module
from detrove.apis import build_model
from detrove.backbones import StagedBackbone
from detrove.engine.optim import RegexOptimWrapperConstructor
from detrove.engine.schedule import resolve_fractions

BASES = Path(__file__).resolve().parents[2] / 'configs/_base_'
SIZE_HW = 96, 160


@pytest.fixture(scope='module')
def model(stock_config):
    on_cpu = functools.partial(torch.linspace, device='cpu')  # mmpretrain's backbones read their drop-path rates back
    with torch.device('meta'), mock.patch('torch.linspace', on_cpu):
        return build_model(stock_config).eval()


def region_heads(model):
    """Each head of regions, with what cuts them out."""
    if hasattr(model, 'roi_head'):
        yield from zip(as_list(model.roi_head.bbox_roi_extractor), as_list(model.roi_head.bbox_head), strict=True)
        if model.roi_head.with_mask:
            yield from zip(as_list(model.roi_head.mask_roi_extractor), as_list(model.roi_head.mask_head), strict=True)


def as_list(modules):
    return modules if isinstance(modules, nn.ModuleList) else [modules]


def forward(model, images):
    """What has weights behind the backbone, once: each part complains about channels that do not fit."""
    if isinstance(model.backbone, StagedBackbone):  # whose own tests compare what it says with what it gives
        places = zip(model.backbone.out_channels, model.backbone.out_strides, strict=True)
        maps = [torch.zeros(len(images), dims, *(-(-size // stride) for size in SIZE_HW)) for dims, stride in places]
        model.backbone.forward = lambda _: tuple(maps)
    features = model.extract_feat(images)
    head = next(filter(None, (getattr(model, name, None) for name in (
        'decode_head', 'panoptic_head', 'rpn_head', 'bbox_head'))))
    if hasattr(head, 'pixel_decoder'):  # what comes behind these convolutions looks at values
        for conv, feature in zip(head.pixel_decoder.input_convs, reversed(features), strict=False):
            conv(feature)
        return
    outs = head(features)
    if hasattr(model, 'decode_head'):
        auxiliary = as_list(model.auxiliary_head) if model.with_auxiliary_head else []
        for logits in (outs, *(head(features) for head in auxiliary)):
            assert logits.shape[:2] == (len(images), head.num_classes)
    else:
        strides = [stride[0] for stride in head.prior_generator.strides]
        sizes_hw = [tuple(-(-size // stride) for size in SIZE_HW) for stride in strides]
        assert [tuple(feature.shape[2:]) for feature in features] == sizes_hw
    for extractor, head in region_heads(model):
        size = extractor.roi_layers[0].output_size
        head(torch.zeros(3, extractor.out_channels, *size))


def test_model_runs(stock_config, model):
    with torch.device('meta'), torch.no_grad():
        forward(model, torch.zeros(2, 3, *SIZE_HW))
    init_cfg = stock_config.model.backbone.get('init_cfg')
    assert init_cfg is None or init_cfg.type != 'Pretrained' or init_cfg.checkpoint.startswith('https://')


def test_optimiser_and_schedule(stock_config, model):
    """They are built, and count in the same unit as training does."""
    config = stock_config
    init_default_scope(config.default_scope)
    if config.optim_wrapper.get('constructor') == 'RegexOptimWrapperConstructor':
        settings = config.optim_wrapper.get('paramwise_cfg') or {}
        groups = RegexOptimWrapperConstructor(config.optim_wrapper, settings).parameter_groups(model)
        assert 'layer_decay' in settings or len(groups) == 1 + len(settings.get('groups', []))
    else:
        build_optim_wrapper(model, config.optim_wrapper)

    by_epoch = config.train_cfg.type == 'EpochBasedTrainLoop'
    length = config.train_cfg.max_epochs if by_epoch else config.train_cfg.max_iters
    optimizer = OPTIMIZERS.build(dict(config.optim_wrapper.optimizer, params=[nn.Parameter(torch.zeros(1))]))
    epochs, iterations = (length, 1000 * length) if by_epoch else (1, length)
    schedulers = resolve_fractions(config.param_scheduler, epochs, iterations)
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        assert by_epoch or not scheduler.get('by_epoch', True)
        assert all(isinstance(time, int) for time in (*scheduler.get('milestones', ()), scheduler.get('end', 0)))
        assert all(time < length for time in scheduler.get('milestones', ()))
        if not scheduler.get('convert_to_iter_based'):
            PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
    assert config.train_cfg.val_interval <= length
    assert config.default_hooks.checkpoint.get('by_epoch', True) == by_epoch
    assert config.log_processor.by_epoch == by_epoch


def test_data(stock_config):
    """Transforms are built; what they load and how they crop is what model and metric expect."""
    config = stock_config
    init_default_scope(config.default_scope)
    for loader in (config.train_dataloader, config.val_dataloader):
        for transform in loader.dataset.pipeline:
            TRANSFORMS.build(transform)
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    if config.default_scope == 'mmseg':
        assert tuple(config.model.data_preprocessor.size) == tuple(steps['RandomCrop'].crop_size)
    elif 'LoadAnnotations' in steps:
        with_mask = steps['LoadAnnotations'].get('with_mask', False)
        assert ('segm' in config.val_evaluator.metric) == with_mask
        if 'roi_head' in config.model:
            assert (config.model.roi_head.get('mask_head') is not None) == with_mask


@pytest.mark.parametrize('name', [
    'mask-rcnn_fpn', 'cascade-mask-rcnn_fpn', 'faster-rcnn_fpn', 'retinanet_fpn', 'upernet', 'semantic-fpn'])
def test_backbone_must_be_set(name):
    """The shared models do not fall back to the ResNet of the file that they inherit from."""
    config = Config.fromfile(BASES / 'models' / f'{name}.py')
    assert config.model.backbone == {}
    with pytest.raises(KeyError, match='type'):
        MODELS.build(config.model)


@pytest.mark.parametrize(('name', 'length', 'steps'), [('1x_adamw', 12, [8, 11]), ('3x_adamw', 36, [27, 33])])
def test_coco_schedules(name, length, steps):
    config = Config.fromfile(BASES / 'schedules' / f'{name}.py')
    warm_up, decay = resolve_fractions(config.param_scheduler, config.train_cfg.max_epochs, 90000)
    assert config.train_cfg.max_epochs == length
    assert decay['milestones'] == steps
    assert (warm_up['start_factor'], warm_up['end'], warm_up['by_epoch']) == (1e-3, 500, False)


def test_poly_rate_is_the_official_one():
    """mmcv's rule: base * (1 - i / N), in the first 1500 iterations times a factor that rises from 1e-6 to 1."""
    config = Config.fromfile(BASES / 'schedules/ade20k_160k.py')
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = OPTIMIZERS.build(dict(config.optim_wrapper.optimizer, params=[parameter]))
    base = config.optim_wrapper.optimizer.lr
    schedulers = [PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
                  for scheduler in resolve_fractions(config.param_scheduler, 1, config.train_cfg.max_iters)]
    rates = []
    for _ in range(20000):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    i = torch.arange(20000)
    # mmengine reaches the end of a schedule with its last iteration, mmcv with the one after it
    expected = base * (1 - i / 160000) * (1e-6 + (1 - 1e-6) * i / 1500).clamp(max=1)
    torch.testing.assert_close(torch.tensor(rates), expected, rtol=1e-3, atol=base * 1e-6)
