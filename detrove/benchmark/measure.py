"""Timing contestants in turn, so that what disturbs the machine disturbs them all."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .contestant import Contestant, now
from .flops import count_flops
from .memory import peak_bytes, saved_bytes


@dataclass
class Measurement:
    """What was measured of one contestant.

    Attributes:
        name: the contestant.
        num_parameters: learned numbers.
        flops: floating point operations of an inference pass, additions and multiplications counted separately.
        predict_s, train_s: seconds of each pass and step, all parts together, in the order they were run.
        train_parts_s: part -> seconds.
        data_s: seconds of loading each batch in one process; not in `train_s`, because loaders work beside training.
        why_no_data: why that was not measured.
        saved_bytes: tensors that the forward pass keeps for the backward, parameters not counted; the same on every
            device.
        peak_bytes: most memory that PyTorch allocated during a training step, above what lives between steps
            (parameters and the optimiser's state).
    """

    name: str
    num_parameters: int
    flops: int | None = None
    predict_s: list[float] = field(default_factory=list)
    train_s: list[float] = field(default_factory=list)
    train_parts_s: dict[str, list[float]] = field(default_factory=dict)
    data_s: list[float] = field(default_factory=list)
    why_no_data: str | None = None
    saved_bytes: int | None = None
    peak_bytes: int | None = None


def measure(contestants: Sequence[Contestant], *, rounds: int = 10, warmup: int = 2, train: bool = True,
            predict: bool = True, progress: Callable[[], None] = lambda: None,
            clock: Callable[[], float] = time.perf_counter) -> list[Measurement]:
    """Measure all contestants, one step of each in turn.

    Args:
        contestants: the models, or what else has their `name`, `num_parameters`, `inputs`, `model`, `train_parts` and
            `predict_parts`.
        rounds: timed steps of each.
        warmup: rounds before that are not timed; operations and memory are counted in the first.
        train, predict: what to measure.
        progress: called after each of the (warmup + rounds) * (train + predict) rounds.
        clock: seconds; `time.process_time` is the time of all threads on the CPU.
    """
    results = [Measurement(x.name, x.num_parameters, why_no_data=getattr(x, 'why_no_data', None)) for x in contestants]
    for contestant in contestants:
        contestant.clock = clock
    for is_train in [False] * predict + [True] * train:
        for round_index in range(warmup + rounds):
            for contestant, result in zip(contestants, results, strict=True):
                if is_train and not getattr(contestant, 'trains', True):
                    continue
                if round_index == 0:
                    (_describe_training if is_train else _describe_prediction)(contestant, result)
                    continue
                parts = _time(contestant, is_train)
                if round_index < warmup:
                    continue
                (result.train_s if is_train else result.predict_s).append(sum(parts.values()))
                for part, seconds in parts.items() if is_train else ():
                    result.train_parts_s.setdefault(part, []).append(seconds)
                if is_train and getattr(contestant, 'load_batch', None):
                    start = now(contestant)
                    contestant.load_batch()
                    result.data_s.append(now(contestant) - start)
            progress()
    return results


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and half the distance between the quartiles (0 for fewer than two values)."""
    if len(values) < 2:
        return (values[0] if values else float('nan')), 0.0
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return middle, (high - low) / 2


def _time(contestant: Contestant, is_train: bool) -> dict[str, float]:
    parts = {}
    start = now(contestant)
    for done in contestant.train_parts() if is_train else contestant.predict_parts():
        part, inside = done if isinstance(done, tuple) else (done, {})
        end = now(contestant)
        parts[part] = parts.get(part, 0.0) + end - start - sum(inside.values())
        for other, seconds in inside.items():
            parts[other] = parts.get(other, 0.0) + seconds
        start = end
    return parts


def _describe_prediction(contestant: Contestant, result: Measurement) -> None:
    compile_mode = getattr(contestant, 'compile_mode', None)
    # a compiled graph hides its operators from the counter
    result.flops = count_flops(lambda: [*(contestant.predict_parts(compiled=False) if compile_mode else
                                          contestant.predict_parts())])


def _describe_training(contestant: Contestant, result: Measurement) -> None:
    result.saved_bytes = saved_bytes(lambda: [*contestant.train_parts()], contestant.model)
    # in the second step, when the optimiser has its state
    result.peak_bytes = peak_bytes(lambda: [*contestant.train_parts()], contestant.inputs.device)
