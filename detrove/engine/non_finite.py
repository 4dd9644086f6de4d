"""Finding where the first number that is not finite comes from, and keeping the step for a replay."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn

from detrove.compat.safe_load import allow_mmengine_checkpoints

from .fsdp import whole
from .random_state import put_random_state, take_random_state


@dataclass
class Origin:
    """Where numbers stopped being finite; empty names where they did not.

    Attributes:
        forward: The first module, in order of computation, with such an output.
        backward: The first module, in order of the backward pass, whose output has such a gradient.
        parameters: Those whose gradient is not finite.
        losses: name -> value.
    """

    forward: str = ''
    backward: str = ''
    parameters: tuple[str, ...] = ()
    losses: dict[str, float] | None = None

    def __str__(self) -> str:
        bad = [name for name, value in (self.losses or {}).items() if not abs(value) < float('inf')]
        if self.forward:
            return f'first non-finite module: {self.forward} (its output)'
        if bad:
            return f'every module has finite outputs; first non-finite loss: {bad[0]}'
        if self.backward:
            return f'the losses are finite; first non-finite gradient: that of the output of {self.backward}'
        if self.parameters:
            return f'the losses are finite; non-finite gradients: {", ".join(self.parameters[:5])}'
        return 'computed again, every number is finite'


def trace(model: nn.Module, data_batch, random_state: dict, dtype: torch.dtype | None = None) -> Origin:
    """Compute losses and gradients again, looking at the output of every module.

    Gradients of the model are cleared, weights and the random generators stay as they are; batch norms take the batch
    in once more.

    Args:
        model: in training mode, on its device.
        data_batch: as the data loader returns it.
        random_state: of before the step.
        dtype: of mixed precision.
    """
    origin = Origin()
    handles = [module.register_forward_hook(_watch(name or type(model).__name__, origin))
               for name, module in model.named_modules()]
    before = take_random_state()
    put_random_state(random_state)
    device = next(model.parameters()).device
    try:
        with torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext():
            data = model.data_preprocessor(data_batch, True)
            losses = model._run_forward(data, mode='loss')
        total, parts = type(model).parse_losses(model, losses)
        origin.losses = {name: float(value) for name, value in parts.items()}
        model.zero_grad()
        total.backward()
        origin.parameters = tuple(name for name, parameter in model.named_parameters()
                                  if parameter.grad is not None and not torch.isfinite(parameter.grad).all())
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
        put_random_state(before)
    return origin


def _watch(name: str, origin: Origin):
    def after_forward(module, inputs, output):
        for tensor in _tensors(output):
            if not origin.forward and not torch.isfinite(tensor).all():
                origin.forward = name
            if tensor.requires_grad:
                tensor.register_hook(after_backward)

    def after_backward(gradient):
        if not origin.backward and not torch.isfinite(gradient).all():
            origin.backward = name

    return after_forward


def _tensors(value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def describe(model: nn.Module, data_batch, random_state: dict, optim_wrapper) -> str:
    """`trace` in words; whatever goes wrong in it must not hide the failure it is about."""
    try:
        return str(trace(model, copy.deepcopy(data_batch), random_state, mixed_precision(optim_wrapper)))
    except Exception as error:
        return f'the module was not found: {type(error).__name__}: {str(error).partition(chr(10))[0]}'


def mixed_precision(optim_wrapper) -> torch.dtype | None:
    """The type that an optimiser wrapper computes in, None without mixed precision."""
    name = type(optim_wrapper).__name__
    if name == 'Bfloat16OptimWrapper':
        return torch.bfloat16
    return (getattr(optim_wrapper, 'cast_dtype', None) or torch.float16) if name == 'AmpOptimWrapper' else None


def write_step(runner, model: nn.Module, data_batch, random_state: dict, what: str) -> Path:
    """Save weights, batch and random generators of a step for `detrove replay`."""
    folder = Path(runner.work_dir) / 'non_finite'
    folder.mkdir(parents=True, exist_ok=True)
    rank = f'_rank{get_rank()}' if get_world_size() > 1 else ''
    path = folder / f'iter_{runner.iter + 1}{rank}.pth'
    torch.save(dict(
        what=what, iter=runner.iter + 1, epoch=runner.epoch, scope=runner.cfg.get('default_scope'),
        model=_plain(runner.cfg.model), state_dict=whole(model.state_dict()), batch=data_batch, random=random_state,
        dtype=mixed_precision(runner.optim_wrapper),
    ), path)  # fmt: skip
    return path


def _plain(settings):
    """Settings of a model as Python's own types, which a file may hold that runs no code."""
    if isinstance(settings, Mapping):
        return {key: _plain(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return type(settings)(_plain(value) for value in settings)
    return settings.__name__ if isinstance(settings, type) else settings


def read_step(path: Path) -> dict:
    """What `write_step` saved, without running code from it.

    Raises:
        ValueError: It is no such file.
    """
    allow_mmengine_checkpoints()
    try:
        with torch.serialization.safe_globals(_batch_types()):
            step = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'{path} is not a step that training saved, or is damaged: {reason}') from error
    if not isinstance(step, dict) or not {'batch', 'random', 'model'} <= step.keys():
        raise ValueError(f'{path} is not a step that training saved. Such files lie in WORK_DIR/non_finite.')
    return step


def _batch_types() -> list[type]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks, PolygonMasks
    from mmseg.structures import SegDataSample

    return [BaseDataElement, InstanceData, PixelData, DetDataSample, SegDataSample, HorizontalBoxes, BitmapMasks,
            PolygonMasks]
