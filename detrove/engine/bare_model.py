"""The model that a runner trains, without what several processes put around it, and its averages."""

from mmengine.hooks import EMAHook
from mmengine.model import BaseAveragedModel, is_model_wrapper
from torch import nn


def bare_model(model: nn.Module) -> nn.Module:
    """The model itself, where data-parallel training has wrapped it."""
    return model.module if is_model_wrapper(model) else model


def averaged_models(runner) -> list[BaseAveragedModel]:
    """The averages of the model's weights that hooks of a runner keep."""
    return [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
