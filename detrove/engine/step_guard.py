"""A training step whose numbers are looked at before they reach the weights."""

import torch
from mmengine.dist import is_distributed
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.utils.data import DataLoader

from .bare_model import bare_model
from .data_order import SeededBatchSampler, fetch
from .fsdp import is_sharded
from .non_finite import describe, write_step
from .out_of_memory import explain_out_of_memory, is_out_of_memory
from .random_state import take_random_state

_MAX_OVERFLOWS = 30  # in a row: from 65536 a loss scale is then below 1e-4


class _NonFinite(Exception):
    """Ends a step before the optimiser's."""


class StepGuard:
    """Runs training steps; one with a non-finite loss or gradient changes no weight.

    Such a step ends the training with a message and a file for `detrove replay`. `skip_non_finite=N` in the config
    leaves out up to N of them. Losses are copied from the device once, together, before the optimiser steps, in place
    of once each after it; gradients are judged by the norm that `optim_wrapper.clip_grad` computes. In mixed
    precision with a loss scale, steps that the scale made overflow are counted as `amp_overflows` in the log.

    Args:
        runner: with model, optimiser wrapper and message hub.
        dataloader: that of training.

    Raises:
        ValueError: `skip_non_finite` is no whole number, or several processes could not agree on what to skip.
    """

    def __init__(self, runner, dataloader: DataLoader):
        self.runner, self.dataloader = runner, dataloader
        self.model = bare_model(runner.model)
        self.limit = _checked_limit(runner.cfg.get('skip_non_finite', 0), runner.optim_wrapper)
        self.skipped = self.overflows = self._overflows_in_a_row = 0
        self._buffers: list[Tensor] = []
        self._undo = []

    def __enter__(self):
        wrapper = self.runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper):
            self._undo.append(wrapper.optimizer.register_step_pre_hook(self._before_update).remove)
        if hasattr(self.model, 'parse_losses'):
            self._parse_losses = self.model.parse_losses
            self.model.parse_losses = self._note_losses
            self._undo.append(lambda: vars(self.model).pop('parse_losses'))
        return self

    def __exit__(self, *_):
        while self._undo:
            self._undo.pop()()

    def step(self, data_batch) -> dict:
        """One step; returns the losses, as tensors on the CPU."""
        self._begin()
        wrapper = self.runner.optim_wrapper
        try:
            outputs = self.runner.model.train_step(data_batch, optim_wrapper=wrapper)
            losses = self._on_host(outputs)
        except _NonFinite:
            return self._failed(data_batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise type(error)(explain_out_of_memory(self.runner, data_batch, error)) from error
        scaler = getattr(wrapper, 'loss_scaler', None)
        overflowed = scaler is not None and not self._updated and wrapper.should_update()
        if _bad(losses) and not (is_sharded(self.model) and not wrapper.should_update()):  # then the norm will tell
            return self._failed(data_batch)
        self._count_overflow(data_batch, overflowed)
        return losses

    def _begin(self) -> None:
        self._losses = self._host_losses = self.grad_norm = None
        self._updated = False
        self._random = take_random_state()
        batches = self.dataloader.batch_sampler
        self._draws = batches.drawn.popleft() if isinstance(batches, SeededBatchSampler) and batches.drawn else None
        if self.limit:  # a batch norm has taken the numbers in before the loss is known
            buffers = [*self.model.buffers()]
            self._buffers = self._buffers or [torch.empty_like(buffer) for buffer in buffers]
            torch._foreach_copy_(self._buffers, buffers)

    def _note_losses(self, losses):
        total, self._losses = self._parse_losses(losses)
        return total, self._losses

    def _on_host(self, outputs: dict) -> dict:
        """The same dict with scalars on the CPU, by one copy."""
        if self._host_losses is None:
            scalars = {name: value.detach() for name, value in (outputs or {}).items()
                       if isinstance(value, Tensor) and value.numel() == 1}
            if any(value.is_cuda for value in scalars.values()):
                together = torch.stack([value.reshape(()).double() for value in scalars.values()]).cpu()
                scalars = dict(zip(scalars, together.unbind(), strict=True))
            self._host_losses = {**outputs, **scalars} if outputs else outputs
        return self._host_losses

    def _before_update(self, optimizer, args, kwargs) -> None:
        wrapper = self.runner.optim_wrapper
        if wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm':
            self.grad_norm = wrapper.message_hub.get_scalar('train/grad_norm').current()
        norm_is_bad = self.grad_norm is not None and not abs(self.grad_norm) < float('inf')
        if _bad(self._on_host(self._losses)) or norm_is_bad:
            raise _NonFinite
        self._updated = True

    def _count_overflow(self, data_batch, overflowed: bool) -> None:
        if not overflowed:
            self._overflows_in_a_row *= not self._updated
            return
        self.overflows += 1
        self._overflows_in_a_row += 1
        self.runner.message_hub.update_scalar('train/amp_overflows', self.overflows)
        if self._overflows_in_a_row >= _MAX_OVERFLOWS:
            self._stop(data_batch, f'{_MAX_OVERFLOWS} steps in a row overflowed at every loss scale')

    def _failed(self, data_batch) -> dict:
        losses = self._host_losses or {}
        bad = _bad(losses)
        what = ', '.join(f'{name} is {float(losses[name])}' for name in bad) or f'the gradient norm is {self.grad_norm}'
        if self.skipped >= self.limit:
            self._stop(data_batch, what)
        self.skipped += 1
        self.runner.logger.warning(self._report(data_batch, what) + f'\n  the step is left out ({self.skipped} of at '
                                   f'most {self.limit})')
        self.runner.optim_wrapper.zero_grad()
        torch._foreach_copy_([*self.model.buffers()], self._buffers)
        return {name: value for name, value in losses.items() if name not in bad}

    def _stop(self, data_batch, what: str) -> None:
        raise ValueError(self._report(data_batch, what) + '\n  the weights are those before this step; lower '
                         'optim_wrapper.optimizer.lr, correct the image, or set skip_non_finite=N to leave out up to N '
                         'such steps')

    def _report(self, data_batch, what: str) -> str:
        """What happened, as a text; the step is written to the work directory."""
        if self._draws is not None:  # what the preprocessor changed in the samples is not in the file
            loader = self.dataloader
            data_batch = loader.collate_fn(fetch(loader.dataset, self._draws))
        # a detector's losses talk to the other processes, which go on
        where = None if is_distributed() else describe(self.model, data_batch, self._random, self.runner.optim_wrapper)
        path = write_step(self.runner, self.model, data_batch, self._random, what)
        lines = [f'iteration {self.runner.iter + 1}: {what}', f'images: {", ".join(image_names(data_batch))}',
                 *([where] if where else []), f'saved: {path}; look at it with `detrove replay {path}`']
        return '\n  '.join(lines)


def _bad(losses: dict | None) -> list[str]:
    return [name for name, value in (losses or {}).items()
            if isinstance(value, Tensor) and value.numel() == 1 and not torch.isfinite(value.cpu()).item()]


def image_names(data_batch) -> list[str]:
    """Paths of the images of a batch, as far as its samples know them."""
    samples = data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ()
    return [str(sample.metainfo.get('img_path', sample.metainfo.get('img_id', '?'))) for sample in samples]


def _checked_limit(limit, wrapper) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ValueError(f'skip_non_finite={limit!r}: give the number of steps that may be left out, 0 for none')
    if limit and is_distributed() and not getattr(wrapper, 'clip_grad_kwargs', None):
        raise ValueError('skip_non_finite with several processes needs optim_wrapper.clip_grad: the gradient norm is '
                         'what all of them see. Set clip_grad=dict(max_norm=...), or skip_non_finite=0.')
    return limit
