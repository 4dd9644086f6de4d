"""The table of an ablation: mean and deviation of each config over its seeds."""

import csv
import dataclasses
import io
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from .ablation_run import Experiment, Run, write_atomically

_SHOWN_CHANGES = 20
_LONGEST_VALUE = 60


@dataclasses.dataclass(frozen=True)
class Row:
    """A config in the table; numbers are None where no run, or only one, has ended.

    Attributes:
        best: Value of the best validation of each run.
        last: Value of the last validation of each run.
        best_at: Epoch or iteration of the best validation of each run.
        times_s: Time of each run.
        runs: Folder of each run, of unfinished ones too.
    """

    experiment: Experiment
    best: Sequence[float]
    last: Sequence[float]
    best_at: Sequence[int]
    times_s: Sequence[float]
    runs: Sequence[Run]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.best) if self.best else None

    def difference(self, base: 'Row') -> float | None:
        return None if base is self or self.mean is None or base.mean is None else self.mean - base.mean


def read_results(runs: Sequence[Run]) -> dict[Run, dict]:
    """The contents of the result files of those runs that have ended well."""
    return {run: json.loads(run.result_file.read_text()) for run in runs if run.is_finished}


def choose_metric(requested: str | None, results: Mapping[Run, Mapping]) -> str:
    """The metric to compare by, and a check that every run has it.

    Without a request it is the one by which the configs choose their best checkpoint: the one that they name, or what
    `save_best='auto'` takes, the first that validation gives. In semantic segmentation that would be the pixel
    accuracy `aAcc`, and `mIoU` is taken instead.

    Raises:
        ValueError: If a run does not have the metric, or the configs choose differently.
    """
    from detrove.engine.signatures import suggest

    chosen = {requested if requested is not None else _own_choice(run, result) for run, result in results.items()}
    if len(chosen) > 1:
        raise ValueError(
            f'the configs choose their best checkpoint by different metrics, {sorted(chosen)}: use --metric'
        )
    (metric,) = chosen
    for run, result in results.items():
        for validation in result['validations']:
            names = validation['metrics']
            if metric not in names:
                raise ValueError(
                    f'metric {metric!r}: the validation of {run} gave {", ".join(names)}{suggest(metric, names)}. '
                    'Name one of them with --metric; no run has to be trained again.'
                )
    return metric


def summarise(runs: Sequence[Run], results: Mapping[Run, Mapping], metric: str) -> list[Row]:
    """A row for each experiment, in the order of `runs`.

    Raises:
        ValueError: If nothing says whether higher or lower values are better, or a run never gave a number.
    """
    rows = []
    for experiment in dict.fromkeys(run.experiment for run in runs):
        own = [run for run in runs if run.experiment is experiment]
        finished = [run for run in own if run in results]
        sign = sign_of(metric, experiment)
        best = [_best_validation(results[run], metric, sign, run) for run in finished]
        rows.append(
            Row(
                experiment=experiment,
                best=[validation['metrics'][metric] for validation in best],
                last=[results[run]['validations'][-1]['metrics'][metric] for run in finished],
                best_at=[validation['step'] for validation in best],
                times_s=[results[run]['time_s'] for run in finished],
                runs=own,
            )
        )
    return rows


def write_table(work_dir: Path, rows: Sequence[Row], metric: str, problems: Mapping[Run, str]) -> str:
    """Write `table.md` and `table.csv`; returns the rows in Markdown."""
    cells = [_cells(row, rows[0], metric, work_dir) for row in rows]
    table = _aligned([list(cells[0]), *(list(row.values()) for row in cells)])
    base = rows[0].experiment
    text = (
        f'# Ablation by {metric}\n\n{table}\n\n'
        "A run's value is that of its best validation, under *last* that of its last one; means and standard "
        f'deviations (n - 1) over seeds. Difference: from `{base.name}`. Time: mean of a run, from the first line of '
        'its log to the last, with what was trained twice after an interruption.\n'
    )
    if problems:
        text += '\nNot in the table:\n\n' + ''.join(f'- {run}: {why}\n' for run, why in problems.items())
    for row in rows[1:]:
        text += _changes_text(base, row.experiment)
    write_atomically(work_dir / 'table.md', text)
    write_atomically(work_dir / 'table.csv', _csv_text(rows, metric))
    return table


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What differs between two experiments' settings, one line for each."""
    lines = []
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            values = (_shortened(values.get(key, '(not set)')) for values in (before, after))
            lines.append(f'{key}: {" -> ".join(values)}')
    return lines


def _own_choice(run: Run, result: Mapping) -> str:
    names = list(result['validations'][0]['metrics'])
    if run.experiment.save_best is not None:
        return run.experiment.save_best
    return 'mIoU' if names[0] == 'aAcc' and 'mIoU' in names else names[0]


def sign_of(metric: str, experiment: Experiment) -> int:
    """1 where higher values are better, -1 where lower ones are, as mmengine's CheckpointHook decides it."""
    from mmengine.hooks import CheckpointHook

    rule = experiment.rule if metric == experiment.save_best else None
    try:
        hook = CheckpointHook(save_best=metric, rule=rule)
    except ValueError as error:
        raise ValueError(
            f'metric {metric!r}: its name does not say whether higher values are better. Set '
            f'default_hooks.checkpoint.save_best={metric!r} and .rule to greater or less in {experiment.config}.'
        ) from error
    return 1 if hook.is_better_than[metric](1, 0) else -1


def _best_validation(result: Mapping, metric: str, sign: int, run: Run) -> Mapping:
    numbers = [record for record in result['validations'] if math.isfinite(record['metrics'][metric])]
    if not numbers:
        raise ValueError(f'{run}: no validation gave a number for {metric}; see {run.result_file}')
    return max(numbers, key=lambda record: sign * record['metrics'][metric])  # the first one, as CheckpointHook


def _cells(row: Row, base: Row, metric: str, work_dir: Path) -> dict[str, str]:
    difference = row.difference(base)
    last = statistics.fmean(row.last) if row.last else None
    links = ' '.join(f'[{run.seed}]({Path(os.path.relpath(run.folder, work_dir)).as_posix()})' for run in row.runs)
    return {
        'config': row.experiment.name,
        'difference': '' if difference is None else f'{difference:+.4f}',
        'n': str(len(row.best)),
        metric: _number(row.mean),
        'std': _number(_deviation(row.best)),
        'last': _number(last),
        'last std': _number(_deviation(row.last)),
        'best at': f'{row.experiment.unit} {", ".join(map(str, row.best_at))}' if row.best else '',
        'time': _duration(statistics.fmean(row.times_s)) if row.times_s else '',
        'runs': links,
    }


def _csv_text(rows: Sequence[Row], metric: str) -> str:
    lines = []
    for row in rows:
        lines.append(
            dict(
                config=row.experiment.name,
                metric=metric,
                difference=row.difference(rows[0]),
                n=len(row.best),
                mean=row.mean,
                std=_deviation(row.best),
                last_mean=statistics.fmean(row.last) if row.last else None,
                last_std=_deviation(row.last),
                unit=row.experiment.unit,
                best_at=' '.join(map(str, row.best_at)),
                time_s=statistics.fmean(row.times_s) if row.times_s else None,
                config_file=row.experiment.config,
                runs=' '.join(str(run.folder) for run in row.runs),
            )
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _changes_text(base: Experiment, experiment: Experiment) -> str:
    lines = changes(base.settings, experiment.settings)
    shown = [f'- `{line}`' for line in lines[:_SHOWN_CHANGES]] or ['- nothing']
    if len(lines) > _SHOWN_CHANGES:
        shown.append(f'- and {len(lines) - _SHOWN_CHANGES} more')
    return f'\n`{experiment.name}` against `{base.name}`:\n\n' + '\n'.join(shown) + '\n'


def _aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + ' |' for row in table
    ]
    return '\n'.join([lines[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *lines[1:]])


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.4f}'


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}'


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f'{text[: _LONGEST_VALUE - 3]}...'
