"""The bar in a terminal, nothing elsewhere."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from detrove.engine.hooks import ProgressHook


def make_runner(**values):
    logger = logging.Logger('test')
    logger.addHandler(logging.StreamHandler(sys.stdout))
    values = dict(max_iters=4, max_epochs=2, iter=0, epoch=0, val_dataloader=range(3)) | values
    return SimpleNamespace(logger=logger, **values)


def drive(hook, runner):
    """One training iteration, one validation, a log line between them."""
    hook.before_run(runner)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    losses = dict(loss=torch.tensor(3.0, requires_grad=True), loss_a=torch.tensor(1.0), loss_b=torch.tensor(2.0))
    hook.after_train_iter(runner, 0, outputs=losses)
    runner.logger.warning('a line of the log')
    hook.before_val_epoch(runner)
    for batch in range(3):
        hook.after_val_iter(runner, batch)
    if hook.progress is not None:
        hook.progress.refresh()
    hook.after_val_epoch(runner)


def test_shows_losses_rate_and_validation():
    text = io.StringIO()
    hook = ProgressHook(console=Console(file=text, force_terminal=True, width=150))
    runner = make_runner()
    stream = runner.logger.handlers[0].stream
    drive(hook, runner)
    hook.after_run(runner)
    shown = text.getvalue()
    assert 'train, epoch 1/2' in shown
    assert '1/4' in shown and 'it/s' in shown
    assert 'loss 3.000  loss_b 2.000  loss_a 1.000' in shown
    assert 'validate' in shown and '3/3' in shown
    assert 'a line of the log\n' in shown
    assert runner.logger.handlers[0].stream is stream


def test_plain_log_where_there_is_no_terminal(capsys):
    hook = ProgressHook(console=Console(file=io.StringIO()))
    runner = make_runner()
    drive(hook, runner)
    hook.after_run(runner)
    assert hook.console.file.getvalue() == ''
    assert capsys.readouterr().out == 'a line of the log\n'


def test_an_error_gives_the_terminal_back():
    text = io.StringIO()
    hook = ProgressHook(console=Console(file=text, force_terminal=True))
    runner = make_runner()
    stream = runner.logger.handlers[0].stream
    hook.before_run(runner)
    hook.before_train(runner)
    hook.on_exit(runner)
    hook.on_exit(runner)
    assert text.getvalue().endswith('\x1b[?25h')  # the cursor is shown again
    assert runner.logger.handlers[0].stream is stream


@pytest.mark.parametrize(('max_epochs', 'description'), [(1, 'train '), (2, 'train, epoch 1/2')])
def test_training_by_iterations_or_epochs(max_epochs, description):
    text = io.StringIO()
    hook = ProgressHook(console=Console(file=text, force_terminal=True, width=150))
    drive(hook, make_runner(max_epochs=max_epochs))
    assert description in text.getvalue()
