"""The moving average of a model's weights, updated by one call over all tensors."""

import math

import torch
from mmdet.models.layers import ExpMomentumEMA
from mmdet.registry import MODELS
from torch import nn

from .fsdp import local


@MODELS.register_module()
class ForeachExpMomentumEMA(ExpMomentumEMA):
    """mmdet's `ExpMomentumEMA`, same arguments and numbers, without a Python loop over all tensors in each step.

    The average moves by `m = (1 - momentum) * exp(-(1 + steps) / gamma) + momentum` towards the weights
    (RT-DETR's `ModelEMA`, lyuwenyu/RT-DETR, has `1 - m = decay * (1 - exp(-steps / warmups))`).
    """

    def update_parameters(self, model: nn.Module) -> None:
        steps = int(self.steps)
        if steps == 0 or steps % self.interval or not self.update_buffers:
            super().update_parameters(model)
            return
        weights = model.state_dict()
        floating = {name: average for name, average in self.avg_parameters.items() if average.is_floating_point()}
        averages = [local(average.data) for average in floating.values()]
        sources = [local(weights[name].data).to(average.device) for name, average in floating.items()]
        momentum = (1 - self.momentum) * math.exp(-float(1 + steps) / self.gamma) + self.momentum
        torch._foreach_lerp_(averages, sources, momentum)
        self.steps += 1
