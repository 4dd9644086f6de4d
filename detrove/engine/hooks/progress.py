"""Progress bars in a terminal."""

import logging
import sys

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """Iterations per second, or seconds per iteration where that is the more readable."""

    def render(self, task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text('-- it/s')
        return Text(f'{speed:.1f} it/s' if speed >= 1 else f'{1 / speed:.1f} s/it')


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show a bar with rate, time left and current losses while training, validating and testing in a
    terminal.

    Where stdout is not a terminal nothing is shown, and the lines of LoggerHook stand alone. Log lines appear
    above the bar.

    Args:
        interval: Iterations between two readings of the losses, which make a GPU wait.
        console: Where to draw; that of stdout when None.
    """

    priority = 'VERY_LOW'

    def __init__(self, *, interval: int = 10, console: Console | None = None):
        self.interval = interval
        self.console = console
        self.progress: Progress | None = None
        self.tasks = {}
        self.redirected: list[tuple[logging.StreamHandler, object]] = []

    def before_run(self, runner) -> None:
        console = self.console or Console()
        if not (console.is_terminal and is_main_process()):
            return
        self.progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(),
            TextColumn('{task.fields[losses]}'),
            console=console,
        )
        # The handlers hold the stdout of before; through rich their lines do not run into the bar.
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
                self.redirected.append((handler, handler.setStream(FileProxy(console, handler.stream))))
        self.progress.start()

    def before_train(self, runner) -> None:
        self._begin('train', 'train', runner.max_iters, completed=runner.iter)

    def before_train_epoch(self, runner) -> None:
        if self.progress is not None and runner.max_epochs > 1:  # 1 when training counts iterations
            self.progress.update(
                self.tasks['train'], description=f'train, epoch {runner.epoch + 1}/{runner.max_epochs}'
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.progress is None:
            return
        self.progress.update(self.tasks['train'], completed=runner.iter + 1)
        if self.every_n_train_iters(runner, self.interval) or runner.iter == 0:
            self.progress.update(self.tasks['train'], losses=_losses_text(outputs))

    def before_val_epoch(self, runner) -> None:
        self._begin('val', 'validate', len(runner.val_dataloader))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._advance('val')

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._end('val')

    def before_test_epoch(self, runner) -> None:
        self._begin('test', 'test', len(runner.test_dataloader))

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._advance('test')

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._end('test')

    def after_run(self, runner) -> None:
        self.on_exit(runner)

    def on_exit(self, runner) -> None:
        """Take the bar away and give the log its stream back; also after an error (see DetroveRunner)."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
        while self.redirected:
            handler, stream = self.redirected.pop()
            handler.setStream(stream)

    def _begin(self, name: str, description: str, total: int, completed: int = 0) -> None:
        if self.progress is not None:
            self.tasks[name] = self.progress.add_task(description, total=total, completed=completed, losses='')

    def _advance(self, name: str) -> None:
        if self.progress is not None:
            self.progress.advance(self.tasks[name])

    def _end(self, name: str) -> None:
        if self.progress is not None:
            self.progress.remove_task(self.tasks.pop(name))


def _losses_text(outputs, limit: int = 3) -> str:
    """The total first, then the largest of its parts."""
    losses = {name: float(torch.as_tensor(value).detach()) for name, value in (outputs or {}).items() if 'loss' in name}
    parts = sorted((name for name in losses if name != 'loss'), key=losses.get, reverse=True)
    names = [*(name for name in ('loss',) if name in losses), *parts][:limit]
    return '  '.join(f'{name} {losses[name]:.3f}' for name in names)
