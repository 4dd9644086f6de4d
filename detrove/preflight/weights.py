"""Checkpoints that a config names: which of their weights go into its model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from torch import nn

from detrove.checkpoints import LoadReport, load_weights, match_classes, read_checkpoint
from detrove.datasets.check.finding import Finding, error, examples_of, note, warning
from detrove.engine.config_file import walk_typed

_OURS = ('detrove.', 'projects.')


def check_weights(cfg: Config, model: nn.Module, classes: Sequence[str] | None) -> Iterator[Finding]:
    """`load_from` and every `init_cfg` with a checkpoint, those that lie on this machine.

    Args:
        cfg: The complete config.
        model: Built from it; what fits is loaded.
        classes: Names of the classes of the training set.
    """
    for path, node in walk_typed(cfg.model, 'model'):
        if node['type'] == 'Pretrained' and path.endswith('.init_cfg'):
            yield from _check_pretrained(model, node, path)
    source = cfg.get('load_from')
    if source and not cfg.get('resume'):
        yield from _check_load_from(cfg, model, source, classes)


def _check_load_from(cfg: Config, model: nn.Module, source: str, classes: Sequence[str] | None) -> Iterator[Finding]:
    file = _local_file(source)
    if file is None:
        yield _not_here(source, 'load_from')
        return
    try:
        checkpoint = read_checkpoint(str(file), allow_unsafe=cfg.get('allow_unsafe_checkpoint', False))
        weights, rows = match_classes(model, checkpoint, classes, cfg.model)
        report = load_weights(model, weights, source=source)
    except (ValueError, FileNotFoundError) as problem:
        yield error('weights.not-loaded', 'load_from', str(problem), file=str(file),
                    fix='a checkpoint of this model, or load_from=None')
        return
    if rows is not None:
        yield note('weights.classes', 'load_from', str(rows), fix='' if rows.kept else 'no class of the checkpoint '
                   'has the name of one of yours; rename those that mean the same')
    yield from _about(report, 'load_from', str(file))


def _check_pretrained(model: nn.Module, settings: dict, path: str) -> Iterator[Finding]:
    source, where = settings.get('checkpoint') or '', f'{path}.checkpoint'
    file = _local_file(source)
    if file is None:
        yield _not_here(source, where)
        return
    module = model.get_submodule(path.removeprefix('model.').removesuffix('.init_cfg'))
    try:
        if type(module).__module__.startswith(_OURS):
            module.init_weights()  # reads further layouts, and refuses what does not fit
            return
        weights, prefix = read_checkpoint(str(file))['state_dict'], settings.get('prefix', '')
        chosen = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        report = load_weights(module, chosen, source=source)
    except (ValueError, FileNotFoundError) as problem:
        yield error('weights.not-loaded', where, str(problem), file=str(file),
                    fix=f'a checkpoint of this backbone, or {path}=None')
        return
    yield from _about(report, where, str(file))


def _about(report: LoadReport, where: str, file: str) -> Iterator[Finding]:
    for kind, names, make, message in (
        ('other-shape', report.mismatched, warning, 'entries have another shape in the model and stay as initialised'),
        ('missing', report.missing, warning, 'entries of the model are not in the checkpoint and stay as initialised'),
        ('left-out', report.unexpected, note, 'entries of the checkpoint are not in the model'),
    ):
        if names:
            yield make(f'weights.{kind}', where, message, len(names), examples_of(names), file)


def _local_file(source: str) -> Path | None:
    """The file on this machine, also where an address has been fetched before."""
    if '://' not in source:
        return Path(source).expanduser()
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(source).path).name
    return cached if cached.is_file() else None


def _not_here(source: str, where: str) -> Finding:
    return note('weights.not-local', where, f'{source} is not on this machine: it is fetched when training starts, and '
                'was not checked')
