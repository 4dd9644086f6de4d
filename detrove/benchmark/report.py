"""Measurements as a table for people and as JSON for programs."""

import datetime
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch

from detrove.version import __version__

from .measure import Measurement, median_and_spread
from .workload import Workload

_LIBRARIES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'transformers', 'natten', 'triton')


def as_table(results: Sequence[Measurement], batch: int = 1) -> str:
    """A markdown table; times are medians with half the interquartile range, ratios are to the first row."""
    rows = table_rows(results, batch)
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [rows[0], ['---'] * len(rows[0]), *rows[1:]])


def table_rows(results: Sequence[Measurement], batch: int = 1) -> list[list[str]]:
    """The head of the table, and a row for each result; columns that nothing was measured for are left out."""
    first = results[0]
    parts = list(dict.fromkeys(part for x in results for part in x.train_parts_s))
    columns = [
        ('model', [x.name for x in results]),
        ('parameters (M)', [f'{x.num_parameters / 1e6:.2f}' for x in results]),
        ('GFLOPs', ['' if x.flops is None else f'{x.flops / 1e9:.1f}' for x in results]),
        ('inference (ms)', [_ms(x.predict_s) for x in results]),
        ('ratio', [_ratio(x.predict_s, first.predict_s) for x in results]),
        ('training step (ms)', [_ms(x.train_s) for x in results]),
        ('ratio', [_ratio(x.train_s, first.train_s) for x in results]),
        ('images/s', [_rate(x.train_s, batch) for x in results]),
        *((f'{part} (ms)', [_ms(x.train_parts_s.get(part, [])) for x in results]) for part in parts),
        ('data (images/s of one process)', [_rate(x.data_s, batch) for x in results]),
        *_memory_columns('saved for backward', [x.saved_bytes for x in results]),
        *_memory_columns('peak memory', [x.peak_bytes for x in results]),
    ]
    columns = [(head, cells) for head, cells in columns if any(cells)]
    return [[head for head, _ in columns], *map(list, zip(*(cells for _, cells in columns), strict=True))]


def notes(results: Sequence[Measurement]) -> list[str]:
    """What the table leaves out, and why."""
    return [f'data of {x.name}: not measured, {x.why_no_data}' for x in results if x.why_no_data]


def as_json(results: Sequence[Measurement], workload: Workload, options: Mapping | None = None) -> dict:
    """Everything measured, and what it was measured on and with."""
    return dict(environment=environment(workload), workload=asdict(workload), options=dict(options or {}),
                results=[asdict(x) for x in results])


def environment(workload: Workload) -> dict[str, str | int]:
    """Versions, the device and the date."""
    is_cuda = workload.device_type == 'cuda'
    device = torch.cuda.get_device_name(workload.device) if is_cuda else platform.processor() or platform.machine()
    libraries = {name: getattr(sys.modules[name], '__version__', '?') for name in _LIBRARIES if name in sys.modules}
    return dict(detrove=__version__, torch=torch.__version__, **libraries, python=platform.python_version(),
                device=device, threads=torch.get_num_threads(), matmul=torch.get_float32_matmul_precision(),
                date=datetime.date.today().isoformat())


def _ms(seconds: Sequence[float]) -> str:
    if not seconds:
        return ''
    middle, spread = median_and_spread(seconds)
    return f'{middle * 1e3:.1f} ± {spread * 1e3:.1f}'


def _ratio(seconds: Sequence[float], first: Sequence[float]) -> str:
    return f'{median_and_spread(seconds)[0] / median_and_spread(first)[0]:.2f}' if seconds and first else ''


def _rate(seconds: Sequence[float], batch: int) -> str:
    return f'{batch / median_and_spread(seconds)[0]:.3g}' if seconds else ''


def _memory_columns(head: str, values: Sequence[int | None]) -> list[tuple[str, list[str]]]:
    ratios = [f'{value / values[0]:.2f}' if value and values[0] else '' for value in values]
    return [(f'{head} (MiB)', ['' if value is None else f'{value / 2**20:.0f}' for value in values]), ('ratio', ratios)]
