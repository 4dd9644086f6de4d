"""Models of other libraries, where those are installed; weights are random, nothing is downloaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from detrove.ops.boxes import box_xyxy_to_cxcywh

from .contestant import ExternalModel
from .mm_models import mean_of_maps
from .workload import Workload

NUM_CLASSES = 80


def _rtdetr(transformers, version: str, depth: int):
    config_class, model_class = (
        getattr(transformers, f'RTDetr{version}{suffix}') for suffix in ('Config', 'ForObjectDetection'))
    settings = {}
    if depth == 18:
        settings = dict(encoder_in_channels=[128, 256, 512], hidden_expansion=0.5, decoder_layers=3,
                        backbone_config=transformers.RTDetrResNetConfig(
                            hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type='basic',
                            out_features=['stage2', 'stage3', 'stage4']))
    return model_class(config_class(num_labels=NUM_CLASSES, **settings))


def _detr(transformers, prefix: str, stages: tuple[str, ...], **settings):
    config_class, model_class = (
        getattr(transformers, f'{prefix}{suffix}') for suffix in ('Config', 'ForObjectDetection'))
    backbone = transformers.ResNetConfig(out_features=list(stages))
    return model_class(config_class(num_labels=NUM_CLASSES, use_pretrained_backbone=False, use_timm_backbone=False,
                                    backbone_config=backbone, **settings))


_THREE = ('stage2', 'stage3', 'stage4')
#: name -> what builds the model, of the module `transformers`
TRANSFORMERS: dict[str, Callable] = {
    'rtdetr_r18vd': lambda t: _rtdetr(t, '', 18),
    'rtdetr_r50vd': lambda t: _rtdetr(t, '', 50),
    'rtdetrv2_r18vd': lambda t: _rtdetr(t, 'V2', 18),
    'rtdetrv2_r50vd': lambda t: _rtdetr(t, 'V2', 50),
    'detr_r50': lambda t: _detr(t, 'Detr', ('stage4',)),
    'conditional-detr_r50': lambda t: _detr(t, 'ConditionalDetr', ('stage4',)),
    'dab-detr_r50': lambda t: _detr(t, 'DabDetr', ('stage4',)),
    'deformable-detr_r50': lambda t: _detr(t, 'DeformableDetr', _THREE),
    'deformable-detr-two-stage_r50': lambda t: _detr(t, 'DeformableDetr', _THREE, two_stage=True, with_box_refine=True),
}


def transformers_model(name: str, workload: Workload) -> ExternalModel:
    """A detector of transformers; its training step has the library's own losses, AdamW, and clipping to 0.1."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f'transformers:{name} needs transformers: pip install transformers. Other contestants can be '
                          'measured without it.') from error
    if name not in TRANSFORMERS:
        raise ValueError(f'transformers:{name} is not known here; there are {", ".join(TRANSFORMERS)}.')
    transformers.logging.set_verbosity_error()
    images = workload.images()
    mask = torch.ones(workload.batch, *workload.size_hw, dtype=torch.long, device=workload.device)
    inputs = dict(pixel_values=images, pixel_mask=mask)
    return ExternalModel(
        TRANSFORMERS[name](transformers), inputs, dict(inputs, labels=_normalised(workload)), loss=lambda out: out.loss,
        clip_grad_norm=0.1, loss_method='loss_function')


def _normalised(workload: Workload) -> list[dict[str, Tensor]]:
    height, width = workload.size_hw
    scale = torch.tensor([width, height] * 2, device=workload.device)
    return [dict(class_labels=labels, boxes=box_xyxy_to_cxcywh(boxes_xyxy / scale))
            for boxes_xyxy, labels in workload.boxes_and_labels(NUM_CLASSES)]


def timm_model(name: str, workload: Workload) -> ExternalModel:
    """A backbone of timm: its feature maps, or the tokens of networks that have no maps of several strides."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(f'timm:{name} needs timm: pip install timm. Other contestants can be measured without it.'
                          ) from error
    if not timm.is_model(name):
        raise ValueError(f'timm {timm.__version__} has no model {name!r}; see timm.list_models().')
    pretrained = timm.get_pretrained_cfg(name)
    settings = dict(img_size=workload.size_hw) if pretrained is not None and pretrained.fixed_input_size else {}
    try:
        model = timm.create_model(name, features_only=True, **settings)
    except (AttributeError, RuntimeError):
        model = timm.create_model(name, num_classes=0, **settings)
    inputs = (workload.images(),)
    return ExternalModel(model, inputs, inputs, loss=mean_of_maps)


@contextmanager
def mmcv_deformable_attention() -> Iterator[None]:
    """Let mmcv's deformable attention run in mmcv's own PyTorch form instead of through detrove's operators.

    For the time of measurements: detrove's DETRs are not concerned, models of mmdet are then measured as mmdet has them
    without a compiled mmcv. Where mmcv is compiled its models use that anyway.
    """
    from mmcv.ops import multi_scale_deform_attn as module
    own_form = getattr(module, 'mmcv_form', None)
    if own_form is None:
        yield
        return

    class Apply:
        @staticmethod
        def apply(value, shapes, level_starts, locations, weights, im2col_step):
            return own_form(value, shapes, locations, weights)

    with mock.patch.multiple(module, multi_scale_deformable_attn_pytorch=own_form,
                             MultiScaleDeformableAttnFunction=Apply):
        yield
