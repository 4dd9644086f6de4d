"""Whether two trainings are the same, bit for bit: checkpoints and logged numbers."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from detrove.checkpoints import read_checkpoint

#: Of a checkpoint; `message_hub` is compared by its scalars.
_ENTRIES = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'detrove_resume')
_CLOCK = ('time', 'data_time', 'memory', 'eta')


def differences_of_runs(one: Path, other: Path) -> list[str]:
    """What differs between two work directories; nothing when the trainings were the same.

    Compared are the last checkpoint (weights, averaged weights, optimiser, schedules, random generators, settings,
    history of every logged number), the best checkpoint, and each number in the logs. Where a step was made twice,
    because a run was interrupted, both have to be equal to those of the other run.
    """
    found = []
    first, second = (read_checkpoint((folder / 'last_checkpoint').read_text().strip()) for folder in (one, other))
    for entry in _ENTRIES:
        found += differing(first.get(entry), second.get(entry), entry)
    for key in ('epoch', 'iter', 'seed'):
        found += differing(first['meta'][key], second['meta'][key], f'meta.{key}')
    found += differing(_scalars(first), _scalars(second), 'logged')
    best = [checkpoint['message_hub']['runtime_info'].get('best_ckpt') for checkpoint in (first, second)]
    if all(best):
        found += differing(*(Path(path).name for path in best), 'best checkpoint')
        found += differing(*(read_checkpoint(path)['state_dict'] for path in best), 'best checkpoint')
    elif any(best):
        found.append(f'best checkpoint: {best[0]} and {best[1]}')
    return found + _differing_logs(_logged(one), _logged(other))


def differing(one, other, path: str) -> list[str]:
    """Paths of the leaves in which two nested structures are not exactly equal."""
    return [*_differing(one, other, path)]


def _differing(one, other, path: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            if key not in one or key not in other:
                yield f'{path}.{key}: only in one of them'
            else:
                yield from _differing(one[key], other[key], f'{path}.{key}')
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield f'{path}: {len(one)} and {len(other)} entries'
        for index, (left, right) in enumerate(zip(one, other, strict=False)):
            yield from _differing(left, right, f'{path}.{index}')
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape or not torch.equal(_bits(one), _bits(other)):
            yield f'{path}: tensors differ'
    elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if not np.array_equal(one, other, equal_nan=one.dtype.kind == 'f'):
            yield f'{path}: arrays differ'
    elif type(one) is not type(other) or one != other:
        yield f'{path}: {one!r} and {other!r}'


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8) if tensor.numel() else tensor


def _scalars(checkpoint: Mapping) -> dict[str, np.ndarray]:
    return {name: history.data[0] for name, history in checkpoint['message_hub']['log_scalars'].items()
            if name.rpartition('/')[2] not in _CLOCK}


def _logged(folder: Path) -> dict[tuple, list[dict]]:
    """(phase, step) -> what the logs say of it, once for each time it was logged."""
    logged: dict[tuple, list[dict]] = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text(encoding='utf-8').splitlines():
            try:
                numbers = json.loads(line)
            except ValueError:  # cut by a kill; the step is made again
                continue
            kept = {key: value for key, value in numbers.items() if key.rpartition('/')[2] not in _CLOCK}
            logged.setdefault(('train' if 'loss' in kept else 'val', kept.get('step')), []).append(kept)
    return logged


def _differing_logs(one: Mapping, other: Mapping) -> list[str]:
    found = [f'log: {key} only in one of them' for key in one.keys() ^ other.keys()]
    for key in one.keys() & other.keys():
        expected = one[key][0]
        found += [f'log of {key}: {line} for {expected}' for line in one[key][1:] + other[key] if line != expected]
    return found
