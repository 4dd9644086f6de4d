"""mmengine's training loops, which go on inside an epoch, and look at every step's numbers."""

import itertools
from collections.abc import Iterator

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader

from .agreement import check_epoch, share_buffers
from .data_order import SeededBatchSampler
from .resume import put_random_states
from .step_guard import StepGuard


class _ResumableLoop:
    """What both loops share."""

    def _run_step(self, batch_idx: int, data_batch) -> None:
        self.runner.call_hook('before_train_iter', batch_idx=batch_idx, data_batch=data_batch)
        outputs = self.guard.step(data_batch)
        self.runner.call_hook('after_train_iter', batch_idx=batch_idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def _validate(self, position: int, last: int) -> None:
        """Validate if it is time, as both loops of mmengine decide it."""
        self._decide_current_val_interval()
        due = position >= self.val_begin and (position % self.val_interval == 0 or position == last)
        if self.runner.val_loop is not None and due:
            share_buffers(self.runner)
            self.runner.val_loop.run()

    def _validate_again(self, position: int, last: int) -> None:
        """After a resume: the validation that followed the checkpoint, unless the checkpoint knows its result."""
        if position > 0 and not self.runner.resumed.get('validated', True):
            self._validate(position, last)


@LOOPS.register_module()
class ResumableEpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop, which `DetroveRunner` puts in its place; same arguments.

    A checkpoint from inside an epoch continues with the next batch of that epoch.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        check_epoch(self.dataloader)

    def run(self):
        with StepGuard(self.runner, self.dataloader) as self.guard:
            self.runner.call_hook('before_train')
            if self.runner.resumed and not self._done():
                put_random_states(self.runner.resumed)
                self._validate_again(self._epoch, self._max_epochs)
            while self._epoch < self._max_epochs and not self.stop_training:
                self.run_epoch()
                self._validate(self._epoch, self._max_epochs)
            self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        done = self._done()
        self.runner.call_hook('before_train_epoch')
        if done:
            put_random_states(self.runner.resumed)
        self.runner.model.train()
        for idx, data_batch in _batches_after(self.dataloader, done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx, data_batch) -> None:
        self._run_step(idx, data_batch)

    def _done(self) -> int:
        """Steps of this epoch that were made before an interruption; other runs count from the epochs they start."""
        if not self.runner.resumed:
            return 0
        done = self._iter - self._epoch * len(self.dataloader)
        return done if 0 < done <= len(self.dataloader) else 0


@LOOPS.register_module()
class ResumableIterLoop(_ResumableLoop, IterBasedTrainLoop):
    """mmengine's IterBasedTrainLoop, which `DetroveRunner` puts in its place; same arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = _SkippingIterator(self.dataloader)

    def run(self):
        with StepGuard(self.runner, self.dataloader) as self.guard:
            self.runner.call_hook('before_train')
            self.runner.call_hook('before_train_epoch')
            if self._iter > 0 and not self.fast_forward_on_resume:
                self.dataloader_iterator.skip_iter(self._iter)
            if self.runner.resumed:
                put_random_states(self.runner.resumed)
                self._validate_again(self._iter, self._max_iters)
            while self._iter < self._max_iters and not self.stop_training:
                self.runner.model.train()
                self.run_iter(next(self.dataloader_iterator))
                self._validate(self._iter, self._max_iters)
            self.runner.call_hook('after_train_epoch')
            self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch) -> None:
        self._run_step(self._iter, data_batch)


class _SkippingIterator(_InfiniteDataloaderIterator):
    def skip_iter(self, num_iters: int) -> None:
        batches = self._dataloader.batch_sampler
        if not isinstance(batches, SeededBatchSampler):
            super().skip_iter(num_iters)
            return
        if batches.has_epochs:
            self._epoch, num_iters = divmod(num_iters, len(self._dataloader))
            batches.sampler.set_epoch(self._epoch)
        batches.skip(num_iters)


def _batches_after(dataloader: DataLoader, done: int) -> Iterator[tuple[int, object]]:
    """Number and content of the batches of an epoch from the `done`-th on."""
    if isinstance(dataloader.batch_sampler, SeededBatchSampler):
        dataloader.batch_sampler.skip(done)
        return enumerate(dataloader, start=done)
    return itertools.islice(enumerate(dataloader), done, None)  # a loader built elsewhere loads them in vain
