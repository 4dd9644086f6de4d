"""The memory that a training step will need, predicted from small ones on the CPU."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config

from detrove.benchmark.memory import peak_bytes
from detrove.benchmark.mm_models import ConfigContestant
from detrove.benchmark.workload import Workload
from detrove.datasets.check.finding import Finding, error, note, warning
from detrove.engine.out_of_memory import checkpointing_argument

_SIDES = (256, 320, 384)  # enough tokens for 900 queries
_BATCH = 2  # batch norm after pooling to one pixel needs two images
_OBJECTS = 8
_BEND = 0.03  # how far three points may lie off a line, as part of their value, before a parabola is taken
_STATES = {'SGD': 1, 'AdamW': 2, 'Adam': 2, 'Lion': 1}  # numbers kept for each parameter


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes of a training step.

    Attributes:
        fixed: Parameters, gradients, the optimiser's state and averaged weights.
        per_image: What each image of the batch adds.
        reduced_per_image: The same in mixed precision (bfloat16).
        input_hw: For images of this size.
        extrapolated: From smaller images; measured at that size otherwise.
    """

    fixed: int
    per_image: int
    reduced_per_image: int
    input_hw: tuple[int, int]
    extrapolated: bool

    def total(self, batch: int, *, reduced: bool = False) -> int:
        return self.fixed + batch * (self.reduced_per_image if reduced else self.per_image)


def predict_memory(cfg: Config, input_hw: tuple[int, int]) -> MemoryPrediction:
    """Run forward and backward on generated images and scale what they allocate to `input_hw`.

    Three sizes are measured; what an image needs grows in a line with its pixels, or as a parabola where attention is
    dense.
    """
    height, width = input_hw
    direct = height * width <= _SIDES[1] ** 2
    sizes = [input_hw] if direct else [(side, side) for side in _SIDES]
    points, reduced, fixed = [], 1.0, 0
    for index, size_hw in enumerate(sizes):
        per_image, fixed = _measure(cfg, size_hw, 'fp32')
        points.append((size_hw[0] * size_hw[1], per_image))
        if index == 0:
            reduced = _measure(cfg, size_hw, 'bf16')[0] / per_image
    per_image = points[0][1] if direct else _extrapolate(points, height * width)
    return MemoryPrediction(fixed, int(per_image), int(per_image * reduced), input_hw, not direct)


def check_memory(cfg: Config, prediction: MemoryPrediction, available: int | None) -> Iterator[Finding]:
    """The prediction, against the memory of the device.

    Args:
        cfg: The complete config.
        prediction: For it.
        available: Bytes of the GPU; None if there is none here and nobody said.
    """
    batch = cfg.train_dataloader.batch_size
    mixed = 'Amp' in cfg.optim_wrapper.get('type', '') or 'float16' in cfg.optim_wrapper.get('type', '')
    total = prediction.total(batch, reduced=mixed)
    height, width = prediction.input_hw
    how = 'extrapolated from steps on smaller images' if prediction.extrapolated else 'measured on the CPU'
    message = (f'a training step on {batch} images of {width} x {height} is predicted to need {_giga(total)} '
               f'({_giga(prediction.fixed)} for weights, gradients and the optimiser, '
               f'{_giga(total - prediction.fixed)} for the images; an estimate, {how}; CUDA itself takes about half a '
               'gigabyte more)')
    make = note
    if available and total > available:
        make, message = error, f'{message}, and the GPU has {_giga(available)}'
    elif available and total > 0.85 * available:
        make, message = warning, f'{message}, and the GPU has {_giga(available)}: close'
    yield make('memory.peak', 'train_dataloader.batch_size', message,
               fix='it would be less with ' + '; '.join(_ways_out(cfg, prediction, batch, mixed)))


def _ways_out(cfg: Config, prediction: MemoryPrediction, batch: int, mixed: bool) -> Iterator[str]:
    if not mixed:
        yield f'--amp: {_giga(prediction.total(batch, reduced=True))}'
    if batch > 1:
        half = batch // 2
        yield f'train_dataloader.batch_size={half}: {_giga(prediction.total(half, reduced=mixed))} ' \
              f'(and optim_wrapper.accumulative_counts={-(-batch // half)} for the same step)'
    name = checkpointing_argument(cfg)
    if name:
        yield f'model.backbone.{name}=True (slower)'
    yield 'smaller images in train_dataloader.dataset.pipeline'


def _measure(cfg: Config, size_hw: tuple[int, int], precision: str) -> tuple[float, int]:
    """Bytes that an image adds, and those that do not depend on images."""
    contestant = ConfigContestant('model', copy.deepcopy(cfg), Workload(size_hw, _BATCH, _OBJECTS, precision=precision))
    model = contestant.model
    parameters = sum(one.numel() * one.element_size() for one in [*model.parameters(), *model.buffers()])
    trained = sum(one.numel() * one.element_size() for one in model.parameters() if one.requires_grad)
    optimizer = (cfg.optim_wrapper.get('optimizer') or {}).get('type', 'AdamW')
    averaged = any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or ())
    fixed = parameters * (2 if averaged else 1) + trained * (1 + _STATES.get(optimizer, 2))

    def step_without_update() -> None:
        for part in contestant.train_parts():
            if 'backward' in part:
                return

    peak = peak_bytes(step_without_update, torch.device('cpu'))
    return max(peak - trained, 1) / _BATCH, fixed


def _extrapolate(points: list[tuple[int, float]], pixels: int) -> float:
    x, y = np.array(points, dtype=np.float64).T
    line = np.polyfit(x, y, 1)
    if np.abs(np.polyval(line, x) - y).max() > _BEND * y.mean():
        parabola = np.polyfit(x, y, 2)
        if parabola[0] > 0:
            line = parabola
    return float(np.polyval(line, pixels))


def _giga(number: float) -> str:
    return f'{number / 2**30:.1f} GB' if number >= 2**30 / 10 else f'{number / 2**20:.0f} MB'
