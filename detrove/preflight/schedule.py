"""Learning rate and length of a training against the batch, and against the number of images."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config

from detrove.datasets.check.finding import Finding, note, warning
from detrove.engine.schedule import resolve_fractions

_BATCH_IN_NAME = re.compile(r'_(\d+)xb(\d+)')
_FEW_STEPS = 300
_FAR = 1.5  # times the batch that the rate is meant for


def check_schedule(cfg: Config, *, num_processes: int, num_images: int | None) -> Iterator[Finding]:
    """The learning rate, the warm-up and the validations.

    Args:
        cfg: The complete config.
        num_processes: That train, one for each GPU.
        num_images: Of the training set; None if not known.
    """
    loader, loop = cfg.get('train_dataloader') or {}, cfg.get('train_cfg') or {}
    batch = loader.get('batch_size')
    if not isinstance(batch, int) or not loop or 'optim_wrapper' not in cfg:
        return
    yield from _check_rate(cfg, batch * num_processes, num_processes)
    steps = loop.get('max_iters')
    per_epoch = math.ceil(num_images / (batch * num_processes)) if num_images else None
    if steps is None and per_epoch and loop.get('max_epochs'):
        steps = loop['max_epochs'] * per_epoch
    if steps:
        yield from _check_length(cfg, steps, per_epoch)
    length = loop.get('max_epochs') or loop.get('max_iters')
    if length and cfg.get('val_dataloader') and loop.get('val_interval', 1) > length:
        yield warning('schedule.never-evaluated', 'train_cfg.val_interval', f'val_interval is {loop["val_interval"]}, '
                      f'and training ends after {length}: it is never evaluated', fix=f'val_interval={length} or less')


def _check_rate(cfg: Config, batch: int, num_processes: int) -> Iterator[Finding]:
    wrapper = cfg.optim_wrapper
    batch *= wrapper.get('accumulative_counts', 1)
    rate = (wrapper.get('optimizer') or {}).get('lr')
    scaling = cfg.get('auto_scale_lr') or {}
    meant, source = scaling.get('base_batch_size'), 'auto_scale_lr.base_batch_size'
    in_name = _BATCH_IN_NAME.search(Path(cfg.filename or '').stem)
    if meant is None and in_name:
        meant, source = int(in_name[1]) * int(in_name[2]), "the config's name"
    where = 'optim_wrapper.optimizer.lr'
    if rate is None or meant is None:
        yield note('schedule.no-base-batch', 'auto_scale_lr', 'the config does not say for which batch its learning '
                   f'rate {rate} is meant; a step takes {batch} images here',
                   fix='auto_scale_lr = dict(enable=False, base_batch_size=...)')
    elif batch != meant and not scaling.get('enable'):
        ratio = batch / meant
        processes = f'{num_processes} process{"es" if num_processes > 1 else ""}'
        make = warning if max(ratio, 1 / ratio) >= _FAR else note
        yield make('schedule.batch', where, f'lr={rate:g} is meant for {meant} images in a step ({source}), and a step '
                   f'has {batch} here ({processes}): {max(ratio, 1 / ratio):.3g} times as '
                   f'{"many" if ratio > 1 else "few"}',
                   fix=f'--auto-scale-lr, which makes it {rate * ratio:.3g}; or more GPUs, or '
                       'optim_wrapper.accumulative_counts')


def _check_length(cfg: Config, steps: int, per_epoch: int | None) -> Iterator[Finding]:
    if steps < _FEW_STEPS:
        key = 'train_cfg.max_epochs' if 'max_epochs' in cfg.train_cfg else 'train_cfg.max_iters'
        yield warning('schedule.few-steps', key, f'training has {steps} steps; from scratch a detector needs thousands',
                      fix=f'a larger {key}, or a smaller train_dataloader.batch_size')
    schedulers = cfg.get('param_scheduler') or []
    epochs = cfg.train_cfg.get('max_epochs') or 1
    for index, one in enumerate([schedulers] if isinstance(schedulers, Mapping) else schedulers):
        resolved = resolve_fractions(dict(one), epochs, steps)
        end, by_epoch = resolved.get('end'), resolved.get('by_epoch', True)
        if by_epoch and per_epoch and isinstance(end, int):
            end *= per_epoch
        if 'start_factor' in resolved and isinstance(end, int) and end > steps / 2:
            yield warning('schedule.warm-up', f'param_scheduler.{index}.end', f'the warm-up takes {end} of {steps} '
                          'steps: the learning rate is reached late or never', fix=f'end={max(1, steps // 20)}')
