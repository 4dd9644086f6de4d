"""One run of an ablation: a config trained with one seed in a process of its own, resumed where it was stopped."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from detrove.checkout import checkout_path

_SECONDS_TO_STOP = 15
_NOT_METRICS = {'step', 'time', 'data_time'}


class TrainingFailed(RuntimeError):
    """Training ended without a result; the message says why."""


class TrainedElsewhere(RuntimeError):
    """Another process trains this run at this moment."""


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """A config of an ablation.

    Attributes:
        name: Its name in the table and in the names of its folders.
        config: The config file.
        unit: What its training counts and its validations are numbered by, `epoch` or `iter`.
        length: Epochs or iterations of the whole training.
        settings: Dotted key to value as text: all that training depends on, except the seed.
        train_args: Further words for `detrove train`.
        num_gpus: Processes of a training, each with a GPU; 0 is one process on the CPU.
        save_best: The metric that the config names for its best checkpoint, if it names one.
        rule: `greater` or `less` where the config says which values of that metric are better.
    """

    name: str
    config: Path
    unit: str
    length: int
    settings: Mapping[str, str]
    train_args: Sequence[str] = ()
    num_gpus: int = 1
    save_best: str | None = None
    rule: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """An experiment with one seed, and the folder (absolute) where everything of it is written."""

    experiment: Experiment
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f'{self.experiment.name}, seed {self.seed}'

    @property
    def log(self) -> Path:
        """What the training printed, of all its sessions."""
        return self.folder / 'train.log'

    @property
    def settings_file(self) -> Path:
        return self.folder / 'settings.json'

    @property
    def result_file(self) -> Path:
        """Exists as soon as the run has ended well, and is then complete."""
        return self.folder / 'result.json'

    @property
    def is_finished(self) -> bool:
        return self.result_file.exists()


def train(run: Run, *, on_wait: Callable[[], None] = lambda: None) -> None:
    """Train a run to its end, from its latest checkpoint if there is one, and write its result file.

    Args:
        on_wait: Called about once a second while training goes on.

    Raises:
        TrainingFailed: If the training process fails, or ends without a validation.
        TrainedElsewhere: If another process trains this run.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with exclusive(run.folder / 'train.lock') as lock:
        if run.is_finished:  # by another call, since this one looked
            return
        write_atomically(run.settings_file, json.dumps(run.experiment.settings, indent=1))
        command = training_command(run, find_checkpoint(run))
        status = _run_process(command, run, lock=lock, on_wait=on_wait)
        if status:
            reason = f'signal {-status}' if status < 0 else f'exit status {status}'
            raise TrainingFailed(f'training ended with {reason}: {last_line(run.log)}')
        validations = read_validations(run.folder)
        if not validations:
            raise TrainingFailed('training ended, but no validation is in its vis_data/scalars.json')
        started = session_times(run.folder)
        result = dict(
            config=str(run.experiment.config),
            seed=run.seed,
            unit=run.experiment.unit,
            time_s=sum(end - start for start, end in started),
            sessions=len(started),
            validations=validations,
        )
        write_atomically(run.result_file, json.dumps(result, indent=1))


def training_command(run: Run, checkpoint: Path | None) -> list[str]:
    """The words that start the training process."""
    experiment = run.experiment
    words = [str(experiment.config), '--work-dir', str(run.folder), *experiment.train_args]
    words += ['--cfg-options', f'randomness.seed={run.seed}']
    if experiment.unit == 'iter':  # validations numbered by iteration, also where the config does not say so
        words += ['default_hooks.logger.type=LoggerHook', 'default_hooks.logger.log_metric_by_epoch=False']
    if checkpoint is not None:
        words += ['--resume', str(checkpoint)]
    detrove_train = ['-m', 'detrove.cli', 'train', *words]
    if experiment.num_gpus <= 1:
        return [sys.executable, *detrove_train]
    torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={experiment.num_gpus}']
    return [sys.executable, *torchrun, *detrove_train, '--launcher', 'pytorch']


def find_checkpoint(run: Run) -> Path | None:
    """The latest checkpoint from which training can go on.

    A file that was cut short while it was written is passed over. So is the last one of a training that was stopped
    before its last validation had ended: mmengine would resume from it without validating.
    """
    validated = {record['step'] for record in read_validations(run.folder)}
    folders = {run.folder}
    latest = run.folder / 'last_checkpoint'  # names a file in another folder where CheckpointHook.out_dir is set
    if latest.is_file():
        folders.add(Path(latest.read_text().strip()).parent)
    found = []
    for path in (path for folder in folders for path in folder.glob('*.pth')):
        match = re.fullmatch(r'(epoch|iter)_(\d+)', path.stem)
        if match:
            found.append((path.stat().st_mtime, int(match[2]), match[1], path))
    length = run.experiment.length
    for _, number, unit, path in sorted(found, reverse=True):
        unvalidated = unit == run.experiment.unit and number >= length and number not in validated
        if not unvalidated and zipfile.is_zipfile(path):
            return path
    return None


def read_validations(folder: Path) -> list[dict]:
    """Every validation of a run, `dict(step=..., metrics={name: value})`, in the order of training.

    Of a step that was validated again after resuming, the later validation counts.
    """
    found = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for record in _json_lines(file):
            if 'iter' in record:  # of training
                continue
            metrics = {name: value for name, value in record.items() if name not in _NOT_METRICS}
            if metrics:
                found[record['step']] = dict(step=record['step'], metrics=metrics)
    return [found[step] for step in sorted(found)]


def read_position(run: Run) -> int:
    """The epoch or iteration that the training logged last; 0 before the first one."""
    files = sorted(run.folder.glob('*/vis_data/scalars.json'))
    if not files:
        return 0
    with files[-1].open('rb') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
        lines = file.read().splitlines()
    for line in reversed(lines):
        with contextlib.suppress(json.JSONDecodeError):  # half of a line, at either end
            record = json.loads(line)
            if run.experiment.unit in record:
                return record[run.experiment.unit]
    return 0


def session_times(folder: Path) -> list[tuple[float, float]]:
    """Begin and end, in seconds since the epoch, of each time that the training was started."""
    times = []
    for log in sorted(folder.glob('*/*.log')):
        with contextlib.suppress(ValueError):  # another folder than mmengine's, which is named by its time
            start = time.mktime(time.strptime(log.stem, '%Y%m%d_%H%M%S'))
            times.append((start, max(start, log.stat().st_mtime)))
    return times


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    lines = log.read_text(errors='replace').splitlines() if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), 'nothing was printed')


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is never seen in part, whatever happens meanwhile."""
    partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
    try:
        with partial.open('w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold a lock file; yields its descriptor. The lock lasts as long as any process that inherited it.

    Raises:
        TrainedElsewhere: If another process holds it.
    """
    with path.open('a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainedElsewhere(f'another process is at work on it and holds {path}') from None
        yield file.fileno()


def _run_process(command: list[str], run: Run, *, lock: int, on_wait: Callable[[], None]) -> int:
    environment = dict(os.environ)
    if checkout_path() is not None:
        inherited = environment.get('PYTHONPATH')
        environment['PYTHONPATH'] = os.pathsep.join(filter(None, (checkout_path(), inherited)))
    if run.experiment.num_gpus == 0:
        environment['CUDA_VISIBLE_DEVICES'] = ''
    with run.log.open('a') as log:
        log.write(f'$ {shlex.join(command)}\n')
        log.flush()
        # A session of its own, so that a signal ends the training in one way, through this process. The lock goes
        # with it: were this process killed, a training left behind could not get a second one beside it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(lock,),
            start_new_session=True,
        )
    try:
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                on_wait()
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """End a process and those that it started, if any are left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: no permission for what has ended
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_STOP)
            return


def _json_lines(file: Path) -> Iterator[dict]:
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            if number < len(lines):  # the last line is cut where a training was killed
                raise ValueError(f'{file}, line {number}: {error}') from error
