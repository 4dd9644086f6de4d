"""Checkpoints that an interruption at any moment leaves usable, and one more when a scheduler asks to stop."""

import contextlib
import signal
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, is_distributed, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS

from detrove.engine.agreement import share_buffers
from detrove.engine.checkpoint_files import remove_unfinished
from detrove.engine.launchers import timeout_of
from detrove.engine.random_state import take_random_state
from detrove.engine.resume import KEY, make_record

#: Exit status after a signal that asked to save and end: start it again with --resume (EX_TEMPFAIL of sysexits.h).
EXIT_REQUEUE = 75
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
_ASK_EVERY = 5  # steps, where several processes have to agree
_INTERRUPTED = 'interrupted'  # in `meta` of a checkpoint that a signal asked for: its own path


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, which `DetroveRunner` puts in its place; same arguments.

    A file is removed after the one that replaces it was written. Checkpoints hold the state of the random generators
    of every process. With accumulated gradients a checkpoint waits for the step that uses them up.
    """

    _due = _validated = False
    _removals: list[str] | None = None
    _random_states: list[dict] | None = None
    _interrupted: str | None = None

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if runner.resumed:  # mmengine writes the best score into the last checkpoint only if it knows that
            self.last_ckpt = runner.message_hub.get_info('last_ckpt')
        if is_main_process() and Path(self.out_dir).is_dir():
            remove_unfinished(Path(self.out_dir))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.by_epoch:
            return
        self._due |= self.every_n_train_iters(runner, self.interval, self.save_begin)
        if self._due and between_updates(runner) or self.save_last and self.is_last_train_iter(runner):
            self._due = False
            runner.logger.info(f'Saving checkpoint at {runner.iter + 1} iterations')
            self._save_checkpoint(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if 'optimizer' in checkpoint:  # not the best one, which is only tested
            checkpoint[KEY] = make_record(runner, self._random_states, validated=self._validated)

    def save_interrupted(self, runner, *, epoch: int, step: int) -> str:
        """Save what training needs to go on after `step` iterations; the next regular checkpoint replaces the file."""
        kept = self.filename_tmpl, self.max_keep_ckpts
        self.filename_tmpl, self.max_keep_ckpts = 'iter_{}.pth', 0
        try:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
            is_regular = path == runner.message_hub.get_info('last_ckpt') != self._interrupted
            own = {} if is_regular else {_INTERRUPTED: path}
            self._save_checkpoint_with_step(runner, step, meta=dict(epoch=epoch, iter=step, **own))
        finally:
            self.filename_tmpl, self.max_keep_ckpts = kept
        return path

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            self._interrupted = (checkpoint.get('meta') or {}).get(_INTERRUPTED)

    def _save_checkpoint(self, runner) -> None:
        super()._save_checkpoint(runner)
        interrupted, self._interrupted = self._interrupted, None
        if interrupted and interrupted != self.last_ckpt and is_main_process():
            Path(interrupted).unlink(missing_ok=True)

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        share_buffers(runner)
        self._random_states = all_gather_object(take_random_state())
        with self._removals_after_saving():
            super()._save_checkpoint_with_step(runner, step, meta)
        self._random_states = None

    def _save_best_checkpoint(self, runner, metrics) -> None:
        self._validated = True
        try:
            with self._removals_after_saving():
                super()._save_best_checkpoint(runner, metrics)
        finally:
            self._validated = False

    @contextlib.contextmanager
    def _removals_after_saving(self):
        if self._removals is not None:  # the best checkpoint saves the last one again
            yield
            return
        backend, self._removals = self.file_backend, []
        self.file_backend = _Postponing(backend, self._removals)
        try:
            yield
        finally:
            self.file_backend, postponed, self._removals = backend, self._removals, None
        kept = {self.last_ckpt, getattr(self, 'best_ckpt_path', None),
                *getattr(self, 'best_ckpt_path_dict', {}).values()}
        for path in postponed:
            if path not in kept and backend.isfile(path):
                backend.remove(path)


class _Postponing:
    """A file backend that notes what is to be removed."""

    def __init__(self, backend, removals: list[str]):
        self._backend, self._removals = backend, removals

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._removals.append(path)


def between_updates(runner) -> bool:
    """Whether no gradient waits to be used, after a training step."""
    wrapper = runner.optim_wrapper
    return not hasattr(wrapper, 'should_update') or wrapper.should_update()


class PreemptionHook(Hook):
    """Save and end the process with `EXIT_REQUEUE` when SIGTERM or SIGUSR1 arrives, as Slurm sends before it preempts.

    Training ends after its current step; validation at once, and it is repeated after the resume. Several processes
    agree on the step, which takes up to 5 of them.
    """

    priority = 'LOWEST'

    def __init__(self):
        self._signal = self._agreed = 0
        self._previous = {}
        self._agree = None

    def before_train(self, runner) -> None:
        self._signal = self._agreed = 0
        if is_distributed():
            timeout = timeout_of(runner.cfg.get('env_cfg'))
            self._agree = torch.distributed.new_group(backend='gloo', timeout=timeout)
        for number in _SIGNALS:
            with contextlib.suppress(ValueError):  # only the main thread may
                self._previous[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame) -> None:
        self._signal = number

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if is_distributed() and (runner.iter + 1) % _ASK_EVERY == 0:
            asked = torch.tensor(self._signal)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, group=self._agree)
            self._agreed = int(asked)
        asked = self._agreed if is_distributed() else self._signal
        if asked and between_updates(runner) and runner.iter + 1 < runner.max_iters:
            self._end(runner, asked, step=runner.iter + 1)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self._signal and not is_distributed():
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # validation runs on the averaged weights
                    hook._swap_ema_parameters()
            self._end(runner, self._signal, step=runner.iter)

    def _end(self, runner, number: int, *, step: int) -> None:
        name = signal.Signals(number).name
        saver = next((hook for hook in runner.hooks if isinstance(hook, WholeCheckpointHook)), None)
        if saver is None:
            runner.logger.warning(f'{name}: training ends after {step} iterations; without CheckpointHook nothing is '
                                  'saved')
        else:
            path = saver.save_interrupted(runner, epoch=runner.epoch, step=step)
            runner.logger.warning(f'{name}: saved {path} after {step} iterations; continue with --resume '
                                  f'(exit status {EXIT_REQUEUE})')
        if is_distributed():  # launchers end all processes as soon as one has ended
            torch.distributed.barrier(group=self._agree)
        raise SystemExit(EXIT_REQUEUE)

    def on_exit(self, runner) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
