"""Contestants from configs: DETRs of this project, detectors, segmentors, classifiers and bare backbones."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from detrove.apis import build_model
from detrove.detectors import OneDETR
from detrove.layers import fuse_for_inference, use_channels_last

from .contestant import Contestant, sum_losses
from .workload import Workload

# methods of heads of mmdet, mmseg and mmpretrain that turn outputs into losses
_LOSS_METHODS = ('loss_by_feat', 'loss_and_target', '_get_loss')
_ASSIGNERS = ('assigner', 'bbox_assigner', 'initial_assigner', 'alignment_assigner')


class ConfigContestant(Contestant):
    """A model from a config, with the optimiser and gradient clipping of the config.

    Args:
        name, workload, compile_mode: see `Contestant`.
        config: of a detector, segmentor, classifier or backbone.
        fuse: measure inference with norms and re-parametrised branches folded into convolutions.
        backbone_only: measure the model's backbone alone, by the mean of its maps.
    """

    def __init__(self, name: str, config: Config, workload: Workload, *, compile_mode: str | None = None,
                 fuse: bool = False, backbone_only: bool = False):
        model = build_model(config)
        if backbone_only and not isinstance(getattr(model, 'backbone', None), nn.Module):
            raise ValueError(f'{name}: {type(model).__name__} has no backbone to be measured alone.')
        super().__init__(name, (model.backbone if backbone_only else model).to(workload.device), workload,
                         compile_mode=compile_mode)
        if config.get('channels_last'):
            use_channels_last(self.model, on_cpu=workload.device_type == 'cpu')
        self.inference_model = fuse_for_inference(copy.deepcopy(self.model)) if fuse else self.model
        self.optimizer, self.clip_gradients = self._recipe(config.get('optim_wrapper') or {}, backbone_only)
        self._train_pass, self._predict_pass, self._eager_predict, self._losses = self._passes()

    def _recipe(self, settings: Mapping, backbone_only: bool) -> tuple[Optimizer, Callable | None]:
        keys = ['optimizer'] if backbone_only else ['optimizer', 'paramwise_cfg', 'constructor']  # name parts of models
        used = dict(optimizer=dict(type='SGD', lr=1e-4)) | {key: settings[key] for key in keys if key in settings}
        optimizer = build_optim_wrapper(self.model, dict(type='OptimWrapper', **used)).optimizer
        clip = dict(settings.get('clip_grad') or {})
        if not clip:
            return optimizer, None
        kind = clip.pop('type', 'norm')
        return optimizer, partial(nn.utils.clip_grad_value_ if kind == 'value' else nn.utils.clip_grad_norm_, **clip)

    def _passes(self) -> tuple[Callable, Callable, Callable, Callable]:
        """Functions without arguments: a pass in training, in inference, the latter not compiled; losses of the first.

        The library that a model belongs to is that of one of its classes, whatever the scope of the config.
        """
        model, inference_model = self.model, self.inference_model
        modules = {cls.__module__.partition('.')[0] for cls in type(model).__mro__}
        if isinstance(model, OneDETR):
            return self._passes_of_detr()
        if not hasattr(model, 'loss'):
            train, predict = self.compiled(model), self.compiled(inference_model)
            return (lambda: train(self.inputs)), (lambda: predict(self.inputs)), (
                lambda: inference_model(self.inputs)), mean_of_maps
        self._time_losses_inside()
        classes = count_classes(model)
        train = self.compiled(model.loss)
        if 'mmseg' in modules:
            samples = self.workload.segmentation_samples(classes)
            arguments, method = (self.inputs, [sample.metainfo for sample in samples]), inference_model.encode_decode
        elif 'mmpretrain' in modules:
            samples = self.workload.classification_samples(classes)
            arguments, method = (self.inputs, samples), inference_model.forward
        else:
            stuff = max((getattr(module, 'num_stuff_classes', 0) for module in model.modules()), default=0)
            samples = self.workload.detection_samples(classes, classes + stuff if stuff else 0)
            arguments, method = (self.inputs, samples), inference_model._forward
        predict = self.compiled(method)
        return (lambda: train(self.inputs, samples)), (lambda: predict(*arguments)), (
            lambda: method(*arguments)), (lambda losses: losses)

    def _passes_of_detr(self) -> tuple[Callable, Callable, Callable, Callable]:
        model, inference_model = self.model, self.inference_model
        samples = self.workload.detection_samples(model.num_classes)
        train, predict = self.compiled(model.decode), self.compiled(inference_model._forward)

        def forward():
            targets = model.collate(self.inputs, samples)
            return train(self.inputs, targets), targets

        return forward, (lambda: predict(self.inputs, samples)), (
            lambda: inference_model._forward(self.inputs, samples)), (lambda outputs: model.compute_losses(*outputs))

    def _time_losses_inside(self) -> None:
        """Let the heads' losses and assigners count for themselves, although they run inside `model.loss`."""
        for module in self.model.modules():
            for method in _LOSS_METHODS:
                if hasattr(module, method):
                    setattr(module, method, self.timed(getattr(module, method)))
            for key in _ASSIGNERS:
                found = vars(module).get(key)
                for assigner in found if isinstance(found, list) else [found]:
                    if assigner is not None:
                        assigner.assign = self.timed(assigner.assign)

    def predict(self, *, compiled: bool = True) -> object:
        return self._predict_pass() if compiled else self._eager_predict()

    def forward(self) -> object:
        return self._train_pass()

    def losses(self, outputs: Any) -> Tensor | Mapping | Sequence:
        losses = self._losses(outputs)
        if isinstance(losses, Mapping):  # accuracies and the like are told by their names, as in `parse_losses`
            losses = {name: loss for name, loss in losses.items() if 'loss' in name}
        return losses


def count_classes(model: nn.Module) -> int:
    """Classes that labels may have: of things, where a model tells things and stuff; region proposals do not count."""
    things = [module.num_things_classes for module in model.modules() if getattr(module, 'num_things_classes', 0)]
    counts = [module.num_classes for module in model.modules() if isinstance(getattr(module, 'num_classes', None), int)]
    several = [count for count in counts if count > 1]
    if things or several or counts:
        return min(things or several or counts)
    raise ValueError(f'{type(model).__name__} has no module with `num_classes`, so no labels can be made for it.')


def mean_of_maps(maps: Any) -> Tensor:
    """A loss for networks without one."""
    maps = [maps] if isinstance(maps, Tensor) else maps
    return sum_losses([x.float().mean() for x in maps])
