"""What a training wrote down: losses, learning rate, metrics, times and memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .unavailable import Unavailable

# written beside losses and metrics
_TIMES = {'data_time', 'time', 'epoch', 'iter', 'step', 'memory', 'grad_norm', 'lr', 'base_lr'}


@dataclass(frozen=True)
class History:
    """The records of one training, in order.

    Attributes:
        train: a record for every logged iteration, with `step`, the number of the iteration.
        validations: a record for every validation, with `step`, an epoch or an iteration.
        by_epoch: whether the training counts epochs.
        folders: the log folders it is from, several when it was resumed.
    """

    train: Sequence[Mapping]
    validations: Sequence[Mapping]
    by_epoch: bool
    folders: Sequence[Path]

    @property
    def unit(self) -> str:
        return 'epoch' if self.by_epoch else 'iteration'

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Where (epochs or iterations) and what, of a value of training."""
        kept = [one for one in self.train if name in one]
        per_unit = self._iterations_per_epoch() if self.by_epoch else 1
        return np.array([one['step'] / per_unit for one in kept]), np.array([one[name] for one in kept], dtype=float)

    def metric(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The same of a metric of validation."""
        kept = [one for one in self.validations if name in one]
        return np.array([one['step'] for one in kept]), np.array([one[name] for one in kept], dtype=float)

    def loss_names(self) -> list[str]:
        """Names of the parts of the loss, without the total."""
        names = dict.fromkeys(name for one in self.train for name in one)
        return [name for name in names if 'loss' in name and name != 'loss']

    def metric_names(self) -> list[str]:
        return list(dict.fromkeys(name for one in self.validations for name in one if name not in _TIMES))

    def _iterations_per_epoch(self) -> float:
        """From the first records of two epochs, which stand at the same place in them."""
        first = {}
        for one in self.train:
            first.setdefault(one['epoch'], one['step'])
        epochs = list(first)
        if len(epochs) > 1:
            return (first[epochs[-1]] - first[epochs[0]]) / (epochs[-1] - epochs[0])
        return max(one['step'] for one in self.train)


def read_history(work_dir: Path) -> History:
    """The last training of a work directory; what it was resumed from belongs to it.

    Raises:
        Unavailable: if there is no training in the logs.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda file: file.parent.parent.name)
    logs = [(file, _records(file)) for file in files]
    logs = [(file, records) for file, records in logs if any('loss' in one for one in records)]
    if not logs:
        raise Unavailable(f'no log of a training in {work_dir} (*/vis_data/scalars.json, which '
                          "vis_backends=[dict(type='LocalVisBackend')] writes)")
    train, validations, folders = [], [], []
    for file, records in reversed(logs):
        own = [one for one in records if 'loss' in one]
        tests = [one for one in records if 'loss' not in one and 'step' in one and set(one) - _TIMES]
        before = train[0]['step'] if train else np.inf
        train = [one for one in own if one['step'] < before] + train
        first_validation = validations[0]['step'] if validations else np.inf
        validations = [one for one in tests if one['step'] < first_validation] + validations
        folders.insert(0, file.parent.parent)
        if not _was_resumed(own):
            break
    return History(train, validations, 'epoch' in train[0], folders)


def _was_resumed(records: Sequence[Mapping]) -> bool:
    """Whether the first record lies further from the start than records from each other."""
    steps = [one['step'] for one in records]
    gaps = np.diff(steps)
    return records[0].get('epoch', 1) > 1 or (len(gaps) > 0 and steps[0] > 1.5 * gaps.min() and steps[0] > gaps.max())


def _records(file: Path) -> list[dict]:
    records = []
    for line in file.read_text(encoding='utf-8').splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:  # the last line of a training that was killed
            continue
    return records
