"""Keeps of the logged numbers those that a log will still ask for: mmengine keeps all, also in every checkpoint."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, LogProcessor, Runner

_AT_LEAST = 1000  # so that a checkpoint still shows what the last steps and every validation gave


@HOOKS.register_module()
class LogWindowsHook(Hook):
    """Limits the history of each logged number to the longest window that `log_processor` has for it.

    That is its `window_size`, an epoch for the times of steps, what `custom_cfg` asks for, and never less than 1000
    numbers. All of them are kept where `custom_cfg` has the window 'global' or none for a number, and
    where `log_processor` is of another class than mmengine's `LogProcessor`.
    """

    priority = 'VERY_LOW'

    def before_train(self, runner: Runner) -> None:
        self._limits: dict[str, int | None] = {}
        self._limit(runner)  # a checkpoint may have come with more

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._limit(runner)

    def _limit(self, runner: Runner) -> None:
        for name, history in runner.message_hub.log_scalars.items():
            if name not in self._limits:
                self._limits[name] = longest_window(runner, name)
            limit = self._limits[name]
            if limit is not None and history.max_length != limit:
                history.max_length = limit  # the next number that is added pushes the others out


def longest_window(runner: Runner, name: str) -> int | None:
    """How many of the last numbers of `name` ('train/loss') a log of `runner` can ask for; None: all there are."""
    processor = runner.log_processor
    if type(processor) is not LogProcessor:
        return None
    mode, _, key = name.partition('/')
    windows = [_AT_LEAST, processor.window_size]
    if key in ('time', 'data_time'):
        windows.append('epoch')
    for asked in processor.custom_cfg:
        if asked['data_src'] in (key, name) and asked.get('method_name') != 'current':
            windows.append(asked.get('window_size') or 'global')
    if 'global' in windows:
        return None
    return max(_length_of_epoch(runner, mode) if window == 'epoch' else window for window in windows)


def _length_of_epoch(runner: Runner, mode: str) -> int:
    loop = {'train': runner._train_loop, 'val': runner._val_loop, 'test': runner._test_loop}.get(mode)
    return len(loop.dataloader) if isinstance(loop, BaseLoop) else 0
