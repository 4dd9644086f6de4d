"""`compile` in a config: the parts of a model that `torch.compile` takes."""

import os
import shutil

import torch
from torch import nn

#: Where the time of a step goes; matching and losses, whose shapes follow the objects of each batch, stay as they are.
DEFAULT_PARTS = ('backbone', 'neck', 'encoder', 'decoder')


def compile_parts(model: nn.Module, options: bool | dict) -> list[str]:
    """Compile parts of a model in place; names of parameters and the state dict stay as they are.

    Shapes are dynamic unless the options say otherwise: images of a new size do not compile anything again.

    Args:
        model: a detector or segmentor, not wrapped.
        options: `compile` of a config: True, or a dict with `parts` (names of submodules, dots for nested ones;
            those of `DEFAULT_PARTS` that the model has by default) and arguments of `torch.compile`.

    Returns:
        The names of the compiled parts.

    Raises:
        ValueError: a part that the model does not have, or none at all; no compiler.
    """
    options = {} if options is True else dict(options)
    has = dict(model.named_modules())
    parts = options.pop('parts', None) or [name for name in DEFAULT_PARTS if getattr(model, name, None) is not None]
    missing = [name for name in parts if name not in has]
    if missing or not parts:
        children = [name for name, _ in model.named_children()]
        raise ValueError(
            f'compile.parts: {type(model).__name__} has no {", ".join(missing) or "/".join(DEFAULT_PARTS)}. '
            f'Its parts are {children}.'
        )
    options.setdefault('dynamic', True)
    _check_compiler(next(model.parameters()).device, options.get('backend', 'inductor'))
    for name in parts:
        part = has[name]
        # A container that is only iterated over never runs as a whole.
        for module in part if isinstance(part, nn.ModuleList) else [part]:
            module.compile(**options)
    return list(parts)


def _check_compiler(device: torch.device, backend: str) -> None:
    compilers = [os.environ.get('CXX', 'g++'), 'clang++']
    if device.type == 'cpu' and backend == 'inductor' and not any(map(shutil.which, compilers)):
        raise ValueError('compile: torch.compile makes C++ for the CPU, and there is no compiler here. Install g++ '
                         '(or name yours in CXX), or set compile=False.')
