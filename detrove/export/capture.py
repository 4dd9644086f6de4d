"""The graph of a module, by `torch.export` or by tracing, and which module stopped it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .images import STRIDE, ImageSpec
from .networks import FileModel

MIN_SIDE = 16  # of images that a file resizes


def export_graph(module: FileModel, example: torch.Tensor, spec: ImageSpec, *,
                 dynamic_batch: bool) -> torch.export.ExportedProgram:
    """The module as a graph of plain operators whose batch and sides are open where asked for.

    Args:
        module: in eval mode.
        example: an input, with at least two images if the batch is open.
        spec: what the file takes.

    Raises:
        ValueError: naming the module that has no graph, and why.
    """
    with named_failure(module, 'torch.export'):
        return torch.export.export(module, (example,), dynamic_shapes=(_open_sides(module, spec, dynamic_batch),),
                                   strict=False)


def trace(module: FileModel, example: torch.Tensor) -> torch.jit.ScriptModule:
    """The module as TorchScript, by tracing: sizes are fixed, the batch may be."""
    with named_failure(module, 'torch.jit.trace'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of every size that becomes a constant; the check is on the written file
        return torch.jit.trace(module, (example,), check_trace=False)


def _open_sides(module: FileModel, spec: ImageSpec, dynamic_batch: bool) -> dict:
    axes = (2, 3) if module.preprocess is None else (1, 2)
    dims = {0: torch.export.Dim('batch', min=1)} if dynamic_batch else {}
    if spec.free_network:
        dims.update((axis, STRIDE * torch.export.Dim(name, min=2, max=256))
                    for axis, name in zip(axes, ('height_32', 'width_32'), strict=True))
    elif spec.resize_inside:
        dims.update((axis, torch.export.Dim(name, min=MIN_SIDE, max=2**15))
                    for axis, name in zip(axes, ('height', 'width'), strict=True))
    return dims


@contextmanager
def named_failure(module: nn.Module, step: str) -> Iterator[None]:
    """Turn an error inside into one that names the innermost module that ran."""
    trail = []
    handles = []
    for name, part in module.named_modules():
        label = f'{name or "the whole"} ({type(part).__name__})'
        handles.append(part.register_forward_pre_hook(lambda *_, label=label: trail.append(label)))
        handles.append(part.register_forward_hook(lambda *_: trail.pop() and None))
    try:
        yield
    except Exception as error:
        where = trail[-1] if trail else f'the whole ({type(module).__name__})'
        raise ValueError(f'{step} stopped in {where}: {type(error).__name__}: {_first_lines(error)}') from error
    finally:
        for handle in handles:
            handle.remove()


def _first_lines(error: Exception, count: int = 3) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return '\n  '.join(lines[:count])
