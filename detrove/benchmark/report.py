"""Measurements as a table for people and as JSON for programs."""

import platform
from collections.abc import Sequence
from dataclasses import asdict

import torch

from detrove.version import __version__

from .contestant import Workload
from .measure import Measurement, median_and_spread


def as_table(results: Sequence[Measurement]) -> str:
    """A markdown table; times are medians with half the interquartile range, ratios are to the first row."""
    head = ['model', 'parameters (M)', 'GFLOPs']
    predict, train = any(x.predict_s for x in results), any(x.train_s for x in results)
    parts = list(dict.fromkeys(part for x in results for part in x.train_parts_s))
    if predict:
        head += ['inference (ms)', 'ratio']
    if train:
        head += ['training step (ms)', 'ratio', *(f'{part} (ms)' for part in parts)]
        head += ['saved for backward (MiB)', 'ratio']
        head += ['peak memory (MiB)'] * any(x.peak_bytes for x in results)
    rows = [_row(x, results[0], predict, train, parts) for x in results]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows])


def as_json(results: Sequence[Measurement], workload: Workload) -> dict:
    """Everything measured, and what it was measured on and with."""
    return dict(environment=environment(workload), workload=asdict(workload), results=[asdict(x) for x in results])


def environment(workload: Workload) -> dict[str, str | int]:
    """Versions and the device."""
    is_cuda = workload.device.startswith('cuda')
    device = torch.cuda.get_device_name(workload.device) if is_cuda else platform.processor() or platform.machine()
    return dict(detrove=__version__, torch=torch.__version__, python=platform.python_version(), device=device,
                threads=torch.get_num_threads())


def _row(x: Measurement, first: Measurement, predict: bool, train: bool, parts: Sequence[str]) -> list[str]:
    row = [x.name, f'{x.num_parameters / 1e6:.2f}', '' if x.flops is None else f'{x.flops / 1e9:.1f}']
    if predict:
        row += [_ms(x.predict_s), _ratio(x.predict_s, first.predict_s)]
    if train:
        row += [_ms(x.train_s), _ratio(x.train_s, first.train_s)]
        row += [_ms(x.train_parts_s.get(part, [])) for part in parts]
        row += [f'{x.saved_bytes / 2**20:.0f}', f'{x.saved_bytes / first.saved_bytes:.2f}']
        row += [f'{x.peak_bytes / 2**20:.0f}'] if x.peak_bytes else []
    return row


def _ms(seconds: Sequence[float]) -> str:
    if not seconds:
        return ''
    middle, spread = median_and_spread(seconds)
    return f'{middle * 1e3:.1f} ± {spread * 1e3:.1f}'


def _ratio(seconds: Sequence[float], first: Sequence[float]) -> str:
    return f'{median_and_spread(seconds)[0] / median_and_spread(first)[0]:.2f}'
