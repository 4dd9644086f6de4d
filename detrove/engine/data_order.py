"""Which samples training sees, and with which augmentation: a function of seed, epoch and position alone.

Not of the number of data loading processes, and not of what was drawn before: training goes on inside an epoch as if
it had not been interrupted.
"""

import itertools
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from mmengine.dist import get_rank
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Dataset, Sampler, get_worker_info

from .random_state import seed_host, seeded_host

_GRACE_S = 30  # for the step in which a scheduler asks training to end


class Draw(int):
    """The index of a sample in its data set, with the integers that seed its augmentation."""

    def __new__(cls, index: int, entropy: tuple[int, ...]):
        draw = super().__new__(cls, index)
        draw.entropy = entropy
        return draw

    def __reduce__(self):
        return Draw, (int(self), self.entropy)


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(BatchSampler):
    """Batches of another batch sampler, whose indices carry the seeds of their augmentation.

    The seeds are (seed of the sampler, epoch, rank, position in the epoch). A sampler without epochs, such as
    `InfiniteSampler`, counts positions from the start of training.

    Args:
        sampler: of single images.
        batch_size: images per process.
        batches: config of the batch sampler; torch's `BatchSampler` where None.
        drop_last: of torch's.

    Attributes:
        drawn: the batches handed out and not yet trained on, which data loading processes read ahead; who trains
            takes them from the left.
    """

    def __init__(self, sampler: Sampler, batch_size: int, batches: Mapping | None = None, drop_last: bool = False):
        if batches is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            self.batches = DATA_SAMPLERS.build(dict(batches), default_args=dict(sampler=sampler, batch_size=batch_size))
        self.sampler, self.batch_size = sampler, batch_size
        self.drop_last = getattr(self.batches, 'drop_last', drop_last)
        self.drawn: deque[list[Draw]] = deque()
        self._skipped = 0
        self._positions = itertools.count()

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def has_epochs(self) -> bool:
        return hasattr(self.sampler, 'epoch')

    def skip(self, number: int) -> None:
        """Leave out the first batches of the next iteration; only their indices are drawn."""
        self._skipped = number

    def __iter__(self) -> Iterator[list[Draw]]:
        self.drawn.clear()
        skipped, self._skipped = self._skipped, 0
        if self.has_epochs:
            self._positions = itertools.count()
        start = (getattr(self.sampler, 'seed', 0), getattr(self.sampler, 'epoch', 0), get_rank())
        for number, batch in enumerate(self.batches):
            draws = [self._draw(index, (*start, next(self._positions))) for index in batch]
            if number >= skipped:
                self.drawn.append(draws)
                yield draws

    @staticmethod
    def _draw(index, entropy: tuple[int, ...]):
        # samplers of videos give pairs, which stay as they are
        return Draw(index, entropy) if isinstance(index, int | np.integer) else index


def seeded_order(dataloader: Mapping) -> dict:
    """The config of a training data loader, with its batches in a `SeededBatchSampler`."""
    settings = dict(dataloader)
    inner = settings.pop('batch_sampler', None)
    if inner is not None and not isinstance(inner, Mapping):
        return dict(dataloader)
    settings.setdefault('batch_size', 1)
    settings['batch_sampler'] = dict(
        type='mmengine.SeededBatchSampler', batches=inner, drop_last=settings.pop('drop_last', False)
    )
    return settings


def seed_samples(dataset: Dataset) -> None:
    """Have a data set seed the augmentation of every `Draw` that a data loader asks for.

    The loader prefers a method `__getitems__`, which datasets of OpenMMLab do not have. One that has it is left alone.
    """
    if not hasattr(dataset, '__getitems__'):
        dataset.__getitems__ = partial(fetch, dataset)


def fetch(dataset: Dataset, draws: Sequence[int]) -> list:
    """The samples of a batch, each with the augmentation that its `Draw` says."""
    return [_fetch_one(dataset, draw) for draw in draws]


def _fetch_one(dataset: Dataset, draw: int):
    if not isinstance(draw, Draw):
        return dataset[draw]
    if get_worker_info() is not None:
        seed_host(draw.entropy)
        return dataset[int(draw)]
    with seeded_host(draw.entropy):  # the process that trains draws noise of its own
        return dataset[int(draw)]


def start_worker(then: Callable[[int], None] | None, worker_id: int) -> None:
    """Start a data loading process that outlives the signals which ask training to save and end.

    Schedulers send them to every process of a job, and training cannot finish its step without data. The process ends
    by itself some time after the first SIGTERM, and at once with the second, so that nothing is left hanging.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _leave)
    signal.signal(signal.SIGTERM, _leave_soon)
    if then is not None:
        then(worker_id)


def _leave_soon(*_) -> None:
    signal.signal(signal.SIGTERM, _leave)
    signal.alarm(_GRACE_S)


def _leave(*_) -> None:
    os._exit(0)
