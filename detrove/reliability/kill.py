"""Kill trainings at chosen and at random moments, resume them, and compare them with one that was left alone.

    python -m detrove.reliability.kill --points 30

trains a small RT-DETR (denoising, augmentation, averaged weights, a cosine schedule) on drawn images, on the CPU.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from .compare import differences_of_runs

#: place -> how often a small run passes it, for choosing an occurrence
PLACES = {'data': 24, 'step': 18, 'before write': 7, 'during write': 7, 'before rename': 7, 'after rename': 7,
          'validation': 3}


@dataclass(frozen=True)
class Kill:
    """SIGKILL at the n-th passing of a place, or after some seconds."""

    place: str
    occurrence: float

    def __str__(self) -> str:
        return f'{self.place} {self.occurrence:.3g}' + (' s' if self.place == 'after' else '')


def write_small_run(folder: Path, *, images: int = 12, epochs: int = 3) -> Path:
    """Draw images and write the config of a training on two at a time, with a checkpoint after every fourth step."""
    from detrove.datasets.shapes import ensure_shapes
    from detrove.datasets.shapes_drawing import CLASSES, ShapesSettings
    from detrove.engine.config_file import find_config

    data = ensure_shapes(folder / 'shapes', ShapesSettings(num_train=images, num_val=2, sizes_hw=((64, 64),),
                                                           diameter=(12, 40)))
    base = find_config('rt_detr/rtdetr_nano_shapes.py')
    config = folder / 'small.py'
    config.write_text(f"""
_base_ = [{str(base)!r}]
model = dict(query_selection=dict(num_queries=20), denoising=dict(num_queries=10))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    type='CocoDetection', metainfo=dict(classes={CLASSES!r}), data_root={str(data) + '/'!r}))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    type='CocoDetection', metainfo=dict(classes={CLASSES!r}), data_root={str(data) + '/'!r}))
val_evaluator = dict(ann_file={str(data / 'annotations/val.json')!r})
test_dataloader = test_evaluator = test_cfg = None
train_cfg = dict(max_epochs={epochs}, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=8e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=1.0, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(
    logger=dict(interval=1), summary=dict(num_images=0),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4, max_keep_ckpts=2, save_best='auto'))
""", encoding='utf-8')
    return config


def train(config: Path, work_dir: Path, *, kill: Kill | None = None, resume: bool = False,
          options: Sequence[str] = ()) -> int:
    """Train in a process of its own; returns its exit status, minus the signal where one ended it."""
    training = clean_processes().Process(target=_train_and_exit, args=(config, work_dir, kill, resume, options))
    training.start()
    clock = threading.Timer(kill.occurrence, training.kill) if kill and kill.place == 'after' else None
    if clock:
        clock.start()
    training.join()
    if clock:
        clock.cancel()
    return training.exitcode


def clean_processes() -> multiprocessing.context.BaseContext:
    """For processes that are forked from one which has imported everything and computed nothing.

    Autograd's threads, which a test run has started, would not be in a fork of this process.
    """
    processes = multiprocessing.get_context('forkserver')
    processes.set_forkserver_preload(['detrove.projects', 'detrove.cli.train', 'detrove.engine.runner'])
    return processes


def _train_and_exit(config: Path, work_dir: Path, kill: Kill | None, resume: bool, options: Sequence[str]) -> None:
    status = 70
    try:
        import torch

        from detrove.cli import main

        torch.set_num_threads(1)
        with open(work_dir.with_suffix('.log'), 'a') as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        if kill and kill.place != 'after':
            _arm(kill)
        status = main(['train', str(config), '--work-dir', str(work_dir), '--no-preflight', *(['--resume'] * resume),
                       *options])
    finally:
        sys.stdout.flush()
        os._exit(status)


def _arm(kill: Kill) -> None:
    from mmengine.fileio import LocalBackend
    from mmengine.runner import ValLoop

    from detrove.engine import checkpoint_files, data_order
    from detrove.engine.step_guard import StepGuard

    main, passed = os.getpid(), itertools.count(1)

    def pass_by() -> None:
        if next(passed) == kill.occurrence:
            os.kill(main, signal.SIGKILL)  # data loading processes have another id
            time.sleep(60)

    def before(owner, name: str, *, after: bool = False) -> None:
        original = getattr(owner, name)

        def passing(*args, **kwargs):
            if not after:
                pass_by()
            result = original(*args, **kwargs)
            if after:
                pass_by()
            return result

        mock.patch.object(owner, name, passing).start()

    def write_half(self, content: bytes, filepath) -> None:
        with open(filepath, 'wb') as file:
            file.write(content[: len(content) // 2])
            file.flush()
            pass_by()
            file.write(content[len(content) // 2:])

    arm: dict[str, Callable] = {
        'data': lambda: before(data_order, '_fetch_one'),
        'step': lambda: before(StepGuard, '_before_update'),
        'before write': lambda: before(LocalBackend, 'put'),
        'during write': lambda: mock.patch.object(LocalBackend, 'put', write_half).start(),
        'before rename': lambda: before(checkpoint_files.os, 'replace'),
        'after rename': lambda: before(checkpoint_files.os, 'replace', after=True),
        'validation': lambda: before(ValLoop, 'run_iter'),
    }
    arm[kill.place]()


def kill_and_resume(config: Path, work_dir: Path, kill: Kill, options: Sequence[str] = ()) -> bool:
    """Train, be killed, resume until the end; returns whether it was killed at all.

    Raises:
        RuntimeError: A training ended with an error.
    """
    status = train(config, work_dir, kill=kill, options=options)
    if status == 0:
        return False
    if status != -signal.SIGKILL:
        raise RuntimeError(f'{kill}: exit status {status}, see {work_dir.with_suffix(".log")}')
    status = train(config, work_dir, resume=True, options=options)
    if status:
        raise RuntimeError(f'{kill}: resuming ended with {status}, see {work_dir.with_suffix(".log")}')
    return True


@contextmanager
def _folder(given: Path | None):
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m detrove.reliability.kill', description=__doc__.partition('\n')[0])
    parser.add_argument('--points', type=int, default=30, help='how many trainings are killed (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--folder', type=Path, help='keep data, logs and checkpoints here')
    args = parser.parse_args(argv)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    rng = random.Random(args.seed)

    with _folder(args.folder) as folder:
        config = write_small_run(folder)
        first = clean_processes().Process(target=int)  # waits for the imports of those that follow
        first.start()
        first.join()
        start = time.perf_counter()
        if train(config, folder / 'alone') != 0:
            raise RuntimeError(f'the training without kills failed, see {folder / "alone.log"}')
        seconds = time.perf_counter() - start
        counts, lost = Counter(), 0
        places = itertools.cycle([*PLACES, 'after'])
        for trial in itertools.count():
            place = next(places)
            kill = Kill(place, rng.uniform(0.1, 0.95) * seconds if place == 'after' else rng.randint(1, PLACES[place]))
            killed = kill_and_resume(config, folder / f'trial_{trial}', kill)
            found = differences_of_runs(folder / 'alone', folder / f'trial_{trial}')
            counts[place] += killed
            lost += bool(found)
            what = str(kill) if killed else f'{kill}, not reached'
            print(f'{counts.total():3d}  {what}: {"; ".join(found[:3]) or "the same bits"}', flush=True)
            if counts.total() >= args.points:
                break
        print('; '.join(f'{place}: {count}' for place, count in counts.items()))
        print(f'{counts.total()} trainings killed, {lost} differ from the one that was left alone')
    return int(lost > 0)


if __name__ == '__main__':
    sys.exit(main())
