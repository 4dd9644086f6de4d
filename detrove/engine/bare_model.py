"""The model that a runner trains, without what several processes put around it."""

from mmengine.model import is_model_wrapper
from torch import nn


def bare_model(model: nn.Module) -> nn.Module:
    """The model itself, where data-parallel training has wrapped it."""
    return model.module if is_model_wrapper(model) else model
