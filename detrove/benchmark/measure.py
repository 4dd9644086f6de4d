"""Timing contestants in turn, so that what disturbs the machine disturbs them all."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

import detrove.ops  # noqa: F401  registers the operators counted below

from .contestant import Contestant


@register_flop_formula(torch.ops.detrove.ms_deform_attn)
def _sampling_flops(value_shape, shapes, num_points, locations_shape, *_, out_shape=None, **__) -> int:
    """Each sample of a head's channels is a weighted sum of four cells (of one in the discrete form, counted alike)."""
    batch, num_queries, num_heads, num_samples, _ = locations_shape
    return 2 * 4 * batch * num_queries * num_heads * num_samples * value_shape[-1]


@register_flop_formula(torch.ops.detrove.neighborhood_attention)
def _neighborhood_flops(query_shape, key_shape, value_shape, bias_shape, kernel_hw, *_, out_shape=None, **__) -> int:
    """Products of each query with the keys of its window, and the weighted sum of their values."""
    batch, height, width, num_heads, head_dim = query_shape
    return 2 * batch * height * width * num_heads * kernel_hw[0] * kernel_hw[1] * (head_dim + value_shape[-1])


@dataclass
class Measurement:
    """What was measured of one contestant.

    Attributes:
        name: the contestant.
        num_parameters: learned numbers.
        flops: floating point operations of an inference pass, additions and multiplications counted separately.
        predict_s, train_s: seconds of each pass and step, all parts together, in the order they were run.
        train_parts_s: part -> seconds.
        saved_bytes: tensors that the forward pass keeps for the backward, parameters not counted; the same on every
            device.
        peak_bytes: most memory that was allocated on the GPU during a training step; `measure` leaves it None on the
            CPU.
    """

    name: str
    num_parameters: int
    flops: int | None = None
    predict_s: list[float] = field(default_factory=list)
    train_s: list[float] = field(default_factory=list)
    train_parts_s: dict[str, list[float]] = field(default_factory=dict)
    saved_bytes: int | None = None
    peak_bytes: int | None = None


def measure(contestants: Sequence[Contestant], *, rounds: int = 10, warmup: int = 2, train: bool = True,
            predict: bool = True, progress: Callable[[], None] = lambda: None,
            clock: Callable[[], float] = time.perf_counter) -> list[Measurement]:
    """Measure all contestants, one step of each in turn.

    Args:
        contestants: the models.
        rounds: timed steps of each.
        warmup: steps of each before that are not timed.
        train, predict: what to measure.
        progress: called after each of the (warmup + rounds) * (train + predict) rounds.
        clock: seconds; `time.process_time` is the time of all threads on the CPU.
    """
    results = [Measurement(x.name, x.num_parameters) for x in contestants]
    for is_train in [False] * predict + [True] * train:
        for round_index in range(warmup + rounds):
            for contestant, result in zip(contestants, results, strict=True):
                if round_index == 0:
                    (_describe_training if is_train else _describe_prediction)(contestant, result, clock)
                    continue
                parts = _time(contestant, is_train, clock)
                if round_index < warmup:
                    continue
                (result.train_s if is_train else result.predict_s).append(sum(parts.values()))
                for part, seconds in parts.items() if is_train else ():
                    result.train_parts_s.setdefault(part, []).append(seconds)
            progress()
    return results


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and half the distance between the quartiles (0 for fewer than two values)."""
    if len(values) < 2:
        return (values[0] if values else float('nan')), 0.0
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return middle, (high - low) / 2


def _time(contestant: Contestant, is_train: bool, clock: Callable[[], float]) -> dict[str, float]:
    parts = {}
    start = _now(contestant, clock)
    for part in contestant.train_parts() if is_train else contestant.predict_parts():
        end = _now(contestant, clock)
        parts[part], start = end - start, end
    return parts


def _now(contestant: Contestant, clock: Callable[[], float]) -> float:
    if contestant.inputs.is_cuda:
        torch.cuda.synchronize(contestant.inputs.device)
    return clock()


def _describe_prediction(contestant: Contestant, result: Measurement, clock: Callable[[], float]) -> None:
    counter = FlopCounterMode(display=False)
    with counter:
        _time(contestant, False, clock)
    result.flops = counter.get_total_flops()


def _describe_training(contestant: Contestant, result: Measurement, clock: Callable[[], float]) -> None:
    kept = {parameter.untyped_storage().data_ptr(): 0 for parameter in contestant.model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    cuda = contestant.inputs.is_cuda
    if cuda:
        torch.cuda.reset_peak_memory_stats(contestant.inputs.device)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        _time(contestant, True, clock)
    result.saved_bytes = sum(kept.values())
    if cuda:
        result.peak_bytes = torch.cuda.max_memory_allocated(contestant.inputs.device)
