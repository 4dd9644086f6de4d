"""Tells the watchdog how far training, validation or testing has come."""

import sys
from collections.abc import Mapping
from functools import partial

from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader

from detrove.engine.data_order import SeededBatchSampler
from detrove.engine.launchers import timeout_of
from detrove.engine.step_guard import image_names
from detrove.engine.watchdog import Watchdog, connect

_SECONDS = 300.0


@HOOKS.register_module()
class WatchdogHook(Hook):
    """Names the processes that others wait for when nothing has moved for some time, see `Watchdog`.

    `watchdog=dict(seconds=...)` in the config sets the time, `watchdog=False` leaves it out. By default it is 300 s, or
    half of `env_cfg.dist_cfg.timeout` if that is less: then torch.distributed ends the training.
    """

    priority = 'LOWEST'  # what the other hooks do after a step is part of it

    def __init__(self):
        self._dog: Watchdog | None = None
        self._order = 0

    def before_run(self, runner) -> None:
        seconds = seconds_of(runner.cfg)
        rank, world_size = get_dist_info()
        if self._dog is not None or seconds is None or world_size == 1:
            return
        try:
            store = connect()
        except (KeyError, RuntimeError) as error:  # processes that met in another way
            runner.logger.warning(f'no watchdog: no store at MASTER_ADDR and MASTER_PORT of the environment ({error})')
            return
        self._dog = Watchdog(rank=rank, world_size=world_size, seconds=seconds, store=store, say=runner.logger.error)

    def _before_epoch(self, runner, mode: str = 'train') -> None:
        self._note(partial(_before, _loader(runner, mode), _number(runner, mode, 0)))

    def _before_iter(self, runner, batch_idx: int, data_batch=None, mode: str = 'train') -> None:
        self._note(partial(_inside, data_batch, _number(runner, mode, batch_idx)))

    def _after_iter(self, runner, batch_idx: int, data_batch=None, outputs=None, mode: str = 'train') -> None:
        if mode != 'train' and batch_idx + 1 == len(_loader(runner, mode)):
            self._note(lambda stalled: ('evaluating the predictions', ()))
        else:
            self._note(partial(_before, _loader(runner, mode), _number(runner, mode, batch_idx + 1, done=1)))

    def _after_epoch(self, runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._note(lambda stalled: ('after the evaluation', ()))

    def _note(self, describe) -> None:
        if self._dog is not None:
            self._order += 1
            self._dog.note(self._order, describe)

    def on_exit(self, runner) -> None:
        """Stop; an error that follows on a stall is explained by it."""
        if self._dog is None:
            return
        self._dog.stop()
        error = sys.exc_info()[1]
        if error is not None and self._dog.last_words:
            runner.logger.error(f'this process ends with {type(error).__name__} after {self._dog.last_words}')
        self._dog = None


def seconds_of(cfg: Config) -> float | None:
    """The time without progress after which the watchdog of a config speaks, None if there is to be none.

    Raises:
        ValueError: `watchdog` is neither False nor a dict with a positive `seconds`.
    """
    settings = cfg.get('watchdog', {})
    if settings is None or settings is False:
        return None
    seconds = settings.get('seconds') if isinstance(settings, Mapping) else settings
    if settings == {}:
        timeout = timeout_of(cfg.get('env_cfg'))
        return _SECONDS if timeout is None else min(_SECONDS, timeout.total_seconds() / 2)
    if (not isinstance(settings, Mapping) or set(settings) != {'seconds'} or isinstance(seconds, bool)
            or not isinstance(seconds, int | float) or not seconds > 0):
        raise ValueError(f'watchdog={settings!r}: give dict(seconds=...) with the time without progress after which '
                         'the processes that others wait for are named, or False')
    return float(seconds)


def _loader(runner, mode: str) -> DataLoader:
    return getattr(runner, f'{mode}_dataloader')


def _number(runner, mode: str, batch_idx: int, done: int = 0) -> str:
    return f'iteration {runner.iter + 1 + done}' if mode == 'train' else f'batch {batch_idx + 1} of {mode}'


def _inside(data_batch, number: str, stalled: bool) -> tuple[str, list[str]]:
    return f'in {number}', image_names(data_batch)


def _before(loader: DataLoader, number: str, stalled: bool) -> tuple[str, list[str]]:
    """Of a process that loads data, or does what comes between two iterations."""
    batches = loader.batch_sampler
    names = []
    if stalled and isinstance(batches, SeededBatchSampler) and batches.drawn:
        for index in batches.drawn[0]:
            info = loader.dataset.get_data_info(int(index)) if hasattr(loader.dataset, 'get_data_info') else {}
            names.append(str(info.get('img_path', f'sample {int(index)}')))
    return f'before {number} (loads data, saves or evaluates)', names
