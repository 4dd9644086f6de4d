"""Sections about training and settings, which detectors and segmentors share."""

from collections.abc import Sequence

import numpy as np

from detrove.engine.config_file import read_config

from .blocks import Cell, Chart, Note, Section, Table, Text, count, number, row, section
from .history import History
from .run import Run
from .settings import base_settings, differences, original_config, settings_of
from .svg import NUM_COLOURS, Series, line_chart
from .unavailable import Unavailable

_LONGEST_VALUE = 160


def configuration(runs: Sequence[Run]) -> Section:
    """What each run sets, against its file, that file's base, and the other runs."""
    settings = [settings_of(run.cfg) for run in runs]
    makers = [lambda: _runs_against_each_other(runs, settings)] if len(runs) > 1 else []
    for run, own in zip(runs, settings, strict=True):
        makers += [lambda run=run, own=own: _against_file(run, own), lambda run=run: _against_base(run),
                   lambda run=run, own=own: _all_settings(run, own)]
    return section('configuration', 'Configuration', *makers)


def training(names: Sequence[str], histories: Sequence[History | Unavailable]) -> Section:
    """Curves of losses, learning rate and metrics."""
    known = [(index, name, one) for index, (name, one) in enumerate(zip(names, histories, strict=True))
             if isinstance(one, History)]
    notes = [Note(f'Not available: {one}.') for one in histories if isinstance(one, Unavailable)]
    if not known:
        return Section('training', 'Training', notes)
    return section('training', 'Training', lambda: notes, lambda: _metric_charts(known), lambda: _loss_charts(known),
                   lambda: _value_chart(known, 'lr', 'learning rate of the first group of parameters'),
                   lambda: _value_chart(known, 'grad_norm', 'norm of the gradients before clipping'))


def speed(names: Sequence[str], histories: Sequence[History | Unavailable], runs: Sequence[Run],
          parameters: Sequence[int | None]) -> Section:
    """Times and memory as the log of the training has them."""
    return section('speed', 'Speed and memory', lambda: _speed_table(names, histories, runs, parameters))


def shortened(text: str | None) -> str:
    """A value for a table."""
    if text is None:
        return '(not set)'
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + '…'


def _runs_against_each_other(runs, settings) -> Table | Text:
    rows = [row(change.key, *map(shortened, change.values)) for change in differences(*settings)]
    if not rows:
        return Text('The runs have the same settings.')
    return Table(f'Settings in which the runs differ ({len(rows)})', ['setting', *(run.name for run in runs)], rows)


def _against_file(run: Run, own) -> Table | Text:
    if run.work_dir is None:
        return Text(f'{run.name}: settings from {run.config_file.name}.')
    original = original_config(run.config_file)
    rows = [row(change.key, *map(shortened, change.values))
            for change in differences(settings_of(read_config(str(original))), own)]
    if not rows:
        return Text(f'{run.name} was trained with the settings of {original.name} as they are.')
    return Table(f'{run.name}: changed from {original.name} ({len(rows)})', ['setting', original.name, run.name], rows)


def _against_base(run: Run) -> Table | Text:
    original = run.config_file if run.work_dir is None else original_config(run.config_file)
    base, names = base_settings(original)
    rows = [row(change.key, *map(shortened, change.values))
            for change in differences(base, settings_of(read_config(str(original))))]
    caption = f'{run.name}: what {original.name} sets beside its base {", ".join(names)} ({len(rows)})'
    return Table(caption, ['setting', 'base', original.name], rows, folded=True)


def _all_settings(run: Run, own) -> Table:
    rows = [row(key, shortened(value)) for key, value in sorted(own.items())]
    return Table(f'{run.name}: every setting ({len(rows)})', ['setting', 'value'], rows, folded=True)


def _metric_charts(known) -> list:
    names = dict.fromkeys(name for _, _, history in known for name in history.metric_names())
    charts = []
    for group, members in _metric_groups(names).items():
        series = []
        for index, run_name, history in known:
            for place, name in enumerate(members if len(known) == 1 else members[:1]):
                x, y = history.metric(name)
                colour = index if len(known) > 1 else place
                series.append(Series(f'{run_name}: {name}' if len(known) > 1 else name, x, y, colour, marks=True))
        series = [one for one in series if len(one.x)]
        charts.append(_chart(f'{group} of validation', series, known[0][2].unit, group))
    if not charts:
        raise Unavailable('the log has no validation')
    return charts


def _metric_groups(names) -> dict[str, list[str]]:
    """Metrics in charts: AP with its thresholds, AP by size, and anything else by itself; recall is left out."""
    groups = {}
    for name in names:
        last = name.rpartition('/')[2]
        kind = last.removeprefix('bbox_').removeprefix('segm_')
        if kind.startswith('mAP'):
            group = 'AP by size' if kind in ('mAP_s', 'mAP_m', 'mAP_l') else 'AP'
        elif kind.startswith('AR'):
            group = 'AR'
        else:
            group = 'IoU and accuracy' if last in ('mIoU', 'aAcc', 'mAcc') else last
        groups.setdefault(group + (' of masks' if last.startswith('segm_') else ''), []).append(name)
    return {group: members for group, members in groups.items() if group not in ('AR', 'AR of masks')}


def _loss_charts(known) -> list[Chart]:
    unit = known[0][2].unit
    total = [Series(name, *history.curve('loss'), index) for index, name, history in known]
    charts = [_chart('Loss, total', total, unit, 'loss')]
    kinds = {}
    for _, _, history in known:
        for name in history.loss_names():
            kinds.setdefault(name.rpartition('.')[2], {})[name] = None
    for kind, names in kinds.items():
        chosen = list(names) if len(known) == 1 else [kind] if kind in names else list(names)[-1:]
        series = [Series(name if len(known) == 1 else f'{run_name}: {name}', *history.curve(name),
                         place if len(known) == 1 else index)
                  for index, run_name, history in known for place, name in enumerate(chosen)]
        charts.append(_chart(kind, [one for one in series if len(one.x)], unit, kind))
    return charts


def _value_chart(known, name: str, caption: str) -> Chart:
    series = [Series(run_name, *history.curve(name), index) for index, run_name, history in known]
    series = [one for one in series if len(one.x)]
    if not series:
        raise Unavailable(f'the log has no {name}')
    return _chart(caption.capitalize(), series, known[0][2].unit, name)


def _chart(caption: str, series: Sequence[Series], unit: str, y_label: str) -> Chart:
    ends = '; '.join(f'{one.name} ends at {one.y[-1]:.4g}' for one in series[:6])
    svg = line_chart(series, x_label=unit, y_label=y_label, description=f'{caption} over the {unit}s. {ends}.')
    return Chart(caption, svg, [(one.colour % NUM_COLOURS, one.name) for one in series] if len(series) > 1 else ())


def _speed_table(names, histories, runs, parameters) -> Table:
    rows = []
    for name, history, run, size in zip(names, histories, runs, parameters, strict=True):
        values = [Cell('–')] * 5
        if isinstance(history, History):
            seconds, waiting = (history.curve(key)[1] for key in ('time', 'data_time'))
            batch = (run.cfg.get('train_dataloader') or {}).get('batch_size')
            memory = history.curve('memory')[1]
            tests = history.metric('time')[1]
            median = float(np.median(seconds)) if len(seconds) else np.nan
            values = [number(median), number(float(waiting.sum() / seconds.sum()) if len(waiting) else np.nan, 2),
                      number(batch / median if batch else np.nan, 1),
                      count(int(memory.max())) if len(memory) else Cell('not logged (no GPU)'),
                      number(float(np.median(tests)) if len(tests) else np.nan)]
        rows.append([Cell(name), number(None if size is None else size / 1e6, 2), *values])
    columns = ['run', 'parameters (M)', 'step (s), median', 'share of loading', 'images/s per process',
               'peak GPU memory (MB)', 'validation step (s)']
    return Table('From the log of the training; steps of one process', columns, rows)
