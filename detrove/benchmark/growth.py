"""The same measures while one number grows: image side, batch, objects, queries, groups, or any key of a config."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mmengine.config import Config

from detrove.engine.config_check import load_config

from .lineup import is_config, split_name
from .measure import Measurement, median_and_spread
from .report import environment, table_rows
from .workload import Workload

_OF_THE_WORKLOAD = ('size', 'batch', 'objects')
#: short name -> where configs have it, the first that is there counts
_OF_CONFIGS = dict(
    queries=('model.query_selection.num_queries', 'model.num_queries', 'model.panoptic_head.num_queries'),
    groups=('model.groups.num_groups',))


def parse_growth(text: str) -> tuple[str, list]:
    """'queries=100,300,900' -> ('queries', [100, 300, 900]).

    Raises:
        ValueError: if it is not of that form, or has fewer than two values.
    """
    key, _, values = text.partition('=')
    try:
        found = [ast.literal_eval(value) for value in values.split(',')]
    except (SyntaxError, ValueError):
        found = []
    if len(found) < 2 or not all(isinstance(value, int | float) for value in found):
        raise ValueError(f'--grow {text!r} must be KEY=NUMBER,NUMBER,..., with KEY one of '
                         f'{", ".join((*_OF_THE_WORKLOAD, *_OF_CONFIGS))} or a key of the configs such as '
                         'model.decoder.num_layers')
    return key, found


def grown(key: str, value: float, words: Sequence[str], workload: Workload,
          cfg_options: Mapping) -> tuple[Workload, list[dict]]:
    """The workload, and the changes to the config of each word, for one value; one group is a model without groups.

    Raises:
        ValueError: if a contestant has no such setting.
    """
    if key in _OF_THE_WORKLOAD:
        change = dict(size_hw=(value, value)) if key == 'size' else {key: value}
        return replace(workload, **change), [dict(cfg_options)] * len(words)
    changes = []
    for word in words:
        if not is_config(word):
            raise ValueError(f'--grow {key} needs configs, {word} is none; with it grow '
                             f'{", ".join(_OF_THE_WORKLOAD)}')
        path = _key_in(word, key)
        change = {'model.groups': None} if (path, value) == ('model.groups.num_groups', 1) else {path: value}
        changes.append({**cfg_options, **change})
    return workload, changes


def _key_in(word: str, key: str) -> str:
    if key not in _OF_CONFIGS:
        return key
    config = load_config(split_name(word)[1])
    for candidate in _OF_CONFIGS[key]:
        if _get(config, candidate) is not None:
            return candidate
    raise ValueError(f'--grow {key}: {word} has none of {", ".join(_OF_CONFIGS[key])}; name the key itself, '
                     'e.g. --grow model.decoder.num_layers=1,3,6')


def _get(config: Config, key: str) -> object:
    found = config
    for name in key.split('.'):
        found = found.get(name) if hasattr(found, 'get') else None
    return found


def growth_table(key: str, points: Sequence[tuple[float, Sequence[Measurement]]], batch: int) -> str:
    """The rows of every value, one value after the other; ratios are to the first row of the same value."""
    rows = []
    for value, results in points:
        head, *body = table_rows(results, value if key == 'batch' else batch)
        rows += [[str(value), *row] for row in body]
    head = [key, *head]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows])


def growth_json(key: str, points: Sequence[tuple[float, Sequence[Measurement]]], workload: Workload,
                options: Mapping) -> dict:
    """Everything measured, and what it was measured on and with."""
    return dict(environment=environment(workload), workload=asdict(workload), options=dict(options), grow=key,
                points=[dict(value=value, results=[asdict(x) for x in results]) for value, results in points])


def plot_growth(key: str, points: Sequence[tuple[float, Sequence[Measurement]]], path: Path) -> None:
    """One panel for each measure, one line for each contestant, medians with half the interquartile range."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    measures: dict[str, Callable[[Measurement], tuple[float, float] | None]] = {
        'inference (ms)': lambda x: _scaled(median_and_spread(x.predict_s), 1e3) if x.predict_s else None,
        'training step (ms)': lambda x: _scaled(median_and_spread(x.train_s), 1e3) if x.train_s else None,
        'GFLOPs of inference': lambda x: (x.flops / 1e9, 0.0) if x.flops else None,
        'peak memory of a step (MiB)': lambda x: (x.peak_bytes / 2**20, 0.0) if x.peak_bytes else None,
    }
    used = {title: get for title, get in measures.items() if any(get(x) for _, results in points for x in results)}
    figure, panels = pyplot.subplots(1, len(used), figsize=(3.4 * len(used), 3), squeeze=False, layout='constrained')
    for panel, (title, get) in zip(panels[0], used.items(), strict=True):
        for index, contestant in enumerate(points[0][1]):
            found = [(value, *get(results[index])) for value, results in points if get(results[index])]
            if found:
                values, middles, spreads = zip(*found, strict=True)
                panel.errorbar(values, middles, spreads, marker='o', markersize=3, capsize=2, label=contestant.name)
        panel.set(xlabel=key, title=title, ylim=(0, None))
        panel.title.set_fontsize('medium')
        panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize='x-small')
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _scaled(pair: tuple[float, float], factor: float) -> tuple[float, float]:
    return pair[0] * factor, pair[1] * factor
