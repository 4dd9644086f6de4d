"""Whether a layer may be computed in another form that gives the same numbers."""

import torch
from torch import Tensor, nn

from detrove.ops.export_form import is_watched

_HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')


def is_plain_on_cpu(*tensors: Tensor) -> bool:
    """Whether these are float32 on a CPU, outside of autocast, and no exporter or counter records the operators."""
    return not is_watched() and not torch.is_autocast_enabled('cpu') and all(
        tensor.device.type == 'cpu' and tensor.dtype == torch.float32 for tensor in tensors)


def is_replaceable(module: nn.Module, *kinds: type) -> bool:
    """Whether a module is of just these classes, and nobody hooked its call, so that its weights may serve another."""
    return type(module) in kinds and not any(getattr(module, name) for name in _HOOKS)
