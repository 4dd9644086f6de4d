"""Whether a long training holds more and more, or gets slower: the table and the verdict of a soak."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from detrove.benchmark.measure import median_and_spread

_WARM_UP = 0.25  # of what a part logs after its first validation, which starts processes: memory pools fill
_PAIRS_PER_SAMPLE = 40


@dataclass(frozen=True)
class Quantity:
    """What is watched, and how far it may grow.

    Attributes:
        name: with the unit.
        of: its value in a record.
        slope: that it may grow in 1000 steps.
        drift: that the last part may stand above an earlier one, as a share of that.
        once_per_part: that each part, or end of one, may leave behind.
        resets: whether a new process starts it anew. The last part is then compared with the first; with the middle
            one where it does not, by when as many checkpoints lie there as are kept.
    """

    name: str
    of: Callable[[dict], float]
    slope: float
    drift: float = 0.05
    once_per_part: float = 0.0
    resets: bool = True


_MIB = 2**20
_SLOWER = 1.05  # times the CPU time of a new training's steps that those of a long one may take
QUANTITIES = (
    Quantity('memory, training process (MiB)', lambda record: record['main_rss'] / _MIB, slope=4),
    Quantity('memory, data workers (MiB)', lambda record: record['workers_rss'] / _MIB, slope=4),
    Quantity('file handles', lambda record: record['handles'], slope=0.5, drift=0.1),
    Quantity('threads', lambda record: record['threads'], slope=0.5, drift=0),
    # each start adds its logs; each of the checkpoints kept has every logged number, about 0.5 KiB for a step
    Quantity('files in the work directory', lambda record: record['files'], slope=0.5, once_per_part=8, resets=False),
    Quantity('work directory (MiB)', lambda record: record['bytes'] / _MIB, slope=3, once_per_part=1, resets=False),
)


@dataclass(frozen=True)
class Trend:
    """Medians of the first, the middle and the last part, and the growth in 1000 steps inside parts."""

    first: float
    middle: float
    last: float
    slope: float

    def levels(self) -> list[str]:
        """The medians as cells of a table."""
        return [f'{level:.4g}' for level in (self.first, self.middle, self.last)]


def report(records: Sequence[dict]) -> tuple[str, bool]:
    """The table and the verdict, and whether anything grows beyond its bound.

    Raises:
        ValueError: No part has enough samples for a trend.
    """
    turns, records = _split(records, lambda record: 'turn_of' in record)
    parts = warm_parts(records)
    if not parts:
        count = sum('iteration' in record for record in records)
        raise ValueError(f'{count} samples, and no part with four after its warm-up, which ends with the first '
                         'validation: let parts last longer, or log more often (default_hooks.logger.interval)')
    rows, growing = [], []
    for quantity in QUANTITIES:
        trend = trend_of(quantity.of, parts)
        rise = trend.last - (trend.first if quantity.resets else trend.middle)
        limit = bound_of_rise(quantity, trend, parts)
        grows = trend.slope > quantity.slope or rise > limit
        growing += [quantity.name] * grows
        rows.append([quantity.name, *trend.levels(), f'{trend.slope:+.3g} (up to {quantity.slope:.3g})',
                     f'{rise:+.3g} since {"first" if quantity.resets else "middle"} (up to {limit:.3g})',
                     'grows' if grows else 'flat'])
    for name, value in (('CPU time per step (ms), as measured', lambda record: record['step_cpu_ms']),
                        ('time per step (ms), other programs included', lambda record: 1000 * record['step_s'])):
        trend = trend_of(value, parts)
        rows.append([name, *trend.levels(), f'{trend.slope:+.3g}', '', ''])
    head = ['', 'first part', 'middle', 'last', 'in 1000 steps', 'last part', '']
    lines = [_row(head), _row(['---'] * len(head)), *map(_row, rows), '', _history(records)]
    comparison, slower = compare_turns(turns)
    lines.append(comparison)
    growing += ['CPU time per step'] * bool(slower)
    flat = 'flat: nothing grows beyond its bound' + '; whether steps get slower is not known' * (slower is None)
    lines.append('grows: ' + ', '.join(growing) if growing else flat)
    return '\n'.join(lines), bool(growing)


def warm_parts(records: Sequence[dict]) -> list[list[dict]]:
    """The samples of each part after its warm-up; parts with fewer than four are left out."""
    workers = _all_workers(records)
    groups = (group for _, group in itertools.groupby(records, key=lambda record: record['part']))
    parts = (_warm([record for record in group if 'iteration' in record], workers) for group in groups)
    return [part for part in parts if len(part) >= 4]


def compare_turns(turns: Sequence[dict]) -> tuple[str, bool | None]:
    """The CPU time of a long training's steps beside that of a new one's, and whether the long one is slower.

    None where they were not compared.
    """
    last = [record for record in turns if record['part'] == turns[-1]['part']]  # each --resume compares again
    kinds = _split(last, lambda record: record['turn_of'] == 'long')
    long, fresh = (_warm(kind, _all_workers(last)) for kind in kinds)
    # both from when the new one is warm: before that they did not meet the same machine
    start = fresh[0]['clock'] if fresh else math.inf
    together = [[record['step_cpu_ms'] for record in kind if record['clock'] >= start] for kind in (long, fresh)]
    if min(map(len, together)) < 4:
        return 'CPU time per step: not compared with that of a new training, or in too few turns', None
    (long_ms, long_spread), (fresh_ms, fresh_spread) = map(median_and_spread, together)
    return (f'CPU time per step, in turns with a new training: {long_ms:.4g} ± {long_spread:.2g} ms after '
            f'{long[-1]["iteration"]} steps, {fresh_ms:.4g} ± {fresh_spread:.2g} ms after {fresh[-1]["iteration"]} '
            f'(up to {_SLOWER} times)', long_ms > _SLOWER * fresh_ms)


def _split(records: Sequence[dict], is_first: Callable[[dict], bool]) -> tuple[list[dict], list[dict]]:
    return [record for record in records if is_first(record)], [record for record in records if not is_first(record)]


def _all_workers(records: Sequence[dict]) -> int:
    """How many processes a training has when all are there: the most in a tenth of the samples and more.

    A process that is just being started may be seen twice.
    """
    counts = Counter(record['workers'] for record in records if 'iteration' in record)
    return max((count for count, samples in counts.items() if samples >= counts.total() / 10), default=0)


def _warm(samples: Sequence[dict], workers: int) -> list[dict]:
    """Samples of one process with the CPU time of their steps, without those before all workers are there."""
    timed = list(samples[:1])  # always in what is left out
    for before, now in itertools.pairwise(samples):
        steps = now['iteration'] - before['iteration']
        if steps > 0:
            timed.append({**now, 'step_cpu_ms': 1000 * (now['cpu_s'] - before['cpu_s']) / steps})
    complete = [record for record in timed if record['workers'] == workers]
    return complete[max(1, round(_WARM_UP * len(complete))):]


def thirds(parts: Sequence[list[dict]]) -> tuple[list[dict], list[dict], list[dict]]:
    """First, middle and last part; of a single one its thirds."""
    if len(parts) >= 3:
        return parts[0], parts[len(parts) // 2], parts[-1]
    samples = [record for part in parts for record in part]
    third = max(1, len(samples) // 3)
    return samples[:third], samples[third:-third], samples[-third:]


def trend_of(value: Callable[[dict], float], parts: Sequence[list[dict]]) -> Trend:
    """The medians, and the median slope between two samples of one part (Theil and Sen), in 1000 steps."""
    levels = [median(value(record) for record in part) for part in thirds(parts)]
    slopes = []
    for part in parts:
        points = [(record['iteration'], value(record)) for record in part]
        stride = max(1, len(points) // _PAIRS_PER_SAMPLE)  # all pairs of an hour's samples are a million
        for index, (x, y) in enumerate(points):
            slopes += [1000 * (later_y - y) / (later_x - x) for later_x, later_y in points[index + 1 :: stride]
                       if later_x > x]
    return Trend(*levels, slope=median(slopes) if slopes else 0.0)


def bound_of_rise(quantity: Quantity, trend: Trend, parts: Sequence[list[dict]]) -> float:
    """How far the last part may stand above the first, or the middle one."""
    if quantity.resets:
        return quantity.drift * trend.first
    _, (middle, *_), (*_, last) = thirds(parts)
    steps, ends = (last[key] - middle[key] for key in ('iteration', 'part'))
    return quantity.drift * trend.middle + quantity.slope * steps / 1000 + quantity.once_per_part * ends


def _history(records: Sequence[dict]) -> str:
    """How many parts, how they ended, and how many steps were made twice."""
    ends = [record for record in records if 'ended' in record]
    samples = [record for record in records if 'iteration' in record]
    counts = {name: sum(end['ended'] == name for end in ends) for name in dict.fromkeys(end['ended'] for end in ends)}
    hours = sum(end['seconds'] for end in ends) / 3600
    repeated = sum(max(0, before['iteration'] - now['iteration']) for before, now in itertools.pairwise(samples))
    left = sum(end['left'] for end in ends)
    how = ', '.join(f'{count} by {name}' if name.startswith('SIG') else f'{count} {name}'
                    for name, count in counts.items())
    return (f'{len(ends)} parts ({how}), {hours:.2f} h, {max(record["iteration"] for record in samples)} steps; at '
            f'least {repeated} of them made again after kills; {left} processes left behind')


def _row(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'
