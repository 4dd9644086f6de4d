"""Train for hours, ended and killed now and then, and watch what the processes hold.

    python -m detrove.reliability.soak --hours 4 --part-minutes 30 --work-dir soak
    python -m detrove.reliability.soak --report soak

Each part is a process `detrove train CONFIG --resume`, ended by SIGKILL and SIGTERM in turn. What it holds is read
from /proc, so that the training is the one that everybody runs; this needs Linux.
"""

import argparse
import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from .soak_report import report

_RECORDS, _LOG, _RUN = 'soak.jsonl', 'soak.log', 'run'
_ENDINGS = (signal.SIGKILL, signal.SIGTERM)
_GRACE_S = 300  # for the step, and the checkpoint after it, at SIGTERM
_START_S = 1800  # until the first step is logged
_POLL_S = 0.5
_POLLS_PER_YARDSTICK = 4
#: The sample data, much longer than anybody waits, with a checkpoint every other epoch.
_CONFIG = 'rt_detr/rtdetr_nano_shapes.py'
_OPTIONS = ('train_cfg.max_epochs=100000', 'train_cfg.val_interval=4', 'default_hooks.checkpoint.interval=2')


class Yardstick:
    """A fixed piece of work, a convolution with its gradients, whose CPU time tells how fast the machine is just now.

    Programs that share caches and cores make the same instructions take longer. What the training needs is therefore
    compared with what this needs beside it.
    """

    def __init__(self):
        torch.set_num_threads(1)
        self._convolution = torch.nn.Conv2d(64, 64, 3, padding=1)
        self._images = torch.randn(1, 64, 48, 48)
        self._times_ms: list[float] = []
        self.measure()
        self._times_ms.clear()  # the first call also allocates

    def measure(self) -> None:
        start = time.process_time()
        self._convolution(self._images).square().sum().backward()
        self._times_ms.append(1000 * (time.process_time() - start))

    def mean_ms(self) -> float | None:
        """The mean of what was measured since the last call, None where nothing was."""
        times_ms, self._times_ms = self._times_ms, []
        return fmean(times_ms) if times_ms else None


@dataclass(frozen=True)
class Held:
    """What a process holds: bytes of memory, open files, threads, and the seconds of CPU that it used."""

    rss: int
    handles: int
    threads: int
    cpu_s: float


def held_by(pid: int) -> Held | None:
    """What /proc says of a process, None where it is gone."""
    folder = Path('/proc') / str(pid)
    try:
        status = dict(line.partition(':')[::2] for line in (folder / 'status').read_text().splitlines())
        times = (folder / 'stat').read_text().rpartition(')')[2].split()[11:13]
        return Held(rss=int(status['VmRSS'].split()[0]) * 1024, handles=len(os.listdir(folder / 'fd')),
                    threads=int(status['Threads']), cpu_s=sum(map(int, times)) / os.sysconf('SC_CLK_TCK'))
    except (OSError, KeyError):  # a process that has ended, and waits to be collected, has no VmRSS
        return None


def descendants(pid: int) -> list[int]:
    """Ids of the processes that a process started, and those that these started."""
    found = []
    for file in Path('/proc', str(pid), 'task').glob('*/children'):
        with suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *descendants(child)]
    return found


def size_of(folder: Path) -> tuple[int, int]:
    """Number of files in a folder and those below it, and their bytes."""
    sizes = []
    for path in folder.rglob('*'):
        with suppress(OSError):  # a checkpoint that is being renamed
            if path.is_file():
                sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


class LogReader:
    """The lines that trainings add to the logs in a work directory after this was made, each one once."""

    def __init__(self, work_dir: Path):
        self.work_dir = work_dir
        self._read = {file: file.stat().st_size for file in self._files()}

    def _files(self) -> list[Path]:
        return sorted(self.work_dir.glob('*/vis_data/scalars.json'))

    def new_steps(self) -> Iterator[dict]:
        """What was logged of training steps since the last call."""
        for file in self._files():
            with open(file, 'rb') as log:
                log.seek(self._read.get(file, 0))
                whole, _, _ = log.read().rpartition(b'\n')
            if whole:
                self._read[file] = self._read.get(file, 0) + len(whole) + 1
                lines = map(json.loads, whole.splitlines())
                yield from (line for line in lines if 'loss' in line)


class Soak:
    """The parts of a long training, and a file with what was seen.

    Args:
        folder: where records, output and the training's work directory lie.
        config: of the training.
        options: changes to it, KEY=VALUE.
    """

    def __init__(self, folder: Path, config: str, options: Sequence[str]):
        self.folder, self.run = folder, folder / _RUN
        self.command = [sys.executable, '-m', 'detrove', 'train', config, '--work-dir', str(self.run), '--no-preflight',
                        '--resume', '--cfg-options', *options]
        folder.mkdir(parents=True, exist_ok=True)
        self.records = folder / _RECORDS
        self.yardstick = Yardstick()

    def write(self, **record) -> None:
        with open(self.records, 'a', encoding='utf-8') as file:
            file.write(json.dumps(record) + '\n')

    def run_parts(self, *, hours: float, part_minutes: float) -> int:
        """Train until all parts together have lasted so long; returns how many there are.

        Raises:
            RuntimeError: A training ended by itself with an error, or did not end when it was asked to.
        """
        parts = [record for record in read_records(self.folder) if 'ended' in record]
        number, lasted = len(parts), sum(part['seconds'] for part in parts)
        while lasted < hours * 3600:
            ending = _ENDINGS[number % len(_ENDINGS)]
            seconds = min(part_minutes * 60, hours * 3600 - lasted)
            took, finished = self._run_part(number, ending, seconds)
            number, lasted = number + 1, lasted + took
            if finished:
                break
        return number

    def _run_part(self, number: int, ending: signal.Signals, seconds: float) -> tuple[float, bool]:
        log = LogReader(self.run)
        start = time.monotonic()
        with open(self.folder / _LOG, 'ab') as output:
            training = subprocess.Popen(self.command, stdout=output, stderr=output, preexec_fn=_die_with_parent)
        processes: set[int] = set()
        try:
            end = None  # a part lasts from its first logged step
            for polls in itertools.count():
                if training.poll() is not None or (end is not None and time.monotonic() > end):
                    break
                time.sleep(_POLL_S)
                if polls % _POLLS_PER_YARDSTICK == 0:
                    self.yardstick.measure()
                for step in log.new_steps():
                    end = end or time.monotonic() + seconds
                    self._sample(number, training.pid, step, processes)
                if end is None and time.monotonic() - start > _START_S:
                    raise RuntimeError(f'part {number}: no step within {_START_S} s, see {self.folder / _LOG}')
            finished = training.poll() is not None
            if not finished:
                processes |= {*descendants(training.pid)}
                training.send_signal(ending)
            status = _wait(training, ending)
        finally:
            training.kill()
            training.wait()
        took = time.monotonic() - start
        self.write(part=number, ended='by itself' if finished else ending.name, status=status, seconds=took,
                   left=_left_of(processes))
        expected = 0 if finished else {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 75}[ending]
        if status not in {0, expected}:
            raise RuntimeError(f'part {number}: exit status {status} where {expected} was expected, see '
                               f'{self.folder / _LOG}')
        return took, finished

    def _sample(self, number: int, pid: int, step: dict, processes: set[int]) -> None:
        workers = descendants(pid)
        processes.update(workers)
        main = held_by(pid)
        others = [held for held in map(held_by, workers) if held]
        if main is None:
            return
        files, size = size_of(self.run)
        self.write(part=number, pid=pid, clock=time.time(), iteration=step['step'], loss=step['loss'],
                   step_s=step['time'], cpu_s=main.cpu_s, yardstick_ms=self.yardstick.mean_ms(), main_rss=main.rss,
                   workers=len(others), workers_rss=sum(held.rss for held in others),
                   handles=main.handles + sum(held.handles for held in others),
                   threads=main.threads + sum(held.threads for held in others), files=files, bytes=size)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a soak that is killed leaves no training behind


def _wait(training: subprocess.Popen, ending: signal.Signals) -> int:
    try:
        return training.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f'the training (process {training.pid}) did not end within {_GRACE_S} s of '
                           f'{ending.name}') from None


def _left_of(processes: set[int], *, patience_s: float = 60) -> int:
    """How many of these processes still run, after some time to end by themselves."""
    deadline = time.monotonic() + patience_s
    while left := sum(held_by(pid) is not None for pid in processes):
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return left


def read_records(folder: Path) -> list[dict]:
    """What a soak wrote, without a line that was cut when it was killed itself."""
    records = []
    if (folder / _RECORDS).is_file():
        for line in (folder / _RECORDS).read_text(encoding='utf-8').splitlines():
            with suppress(ValueError):
                records.append(json.loads(line))
    return records


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m detrove.reliability.soak', description=__doc__.partition('\n')[0])
    parser.add_argument('--hours', type=float, default=4, help='how long all parts last together (%(default)s)')
    parser.add_argument('--part-minutes', type=float, default=30, help='how long each of them lasts (%(default)s)')
    parser.add_argument('--config', default=_CONFIG, help='%(default)s')
    parser.add_argument('--cfg-options', nargs='+', default=_OPTIONS, metavar='KEY=VALUE',
                        help=f'changes to the config ({" ".join(_OPTIONS)})')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/soak'), help='%(default)s')
    parser.add_argument('--resume', action='store_true', help='add parts to those that lie in the work directory')
    parser.add_argument('--report', type=Path, metavar='DIR', help='only print the table of the soak in DIR')
    args = parser.parse_args(argv)
    folder = args.report or args.work_dir
    if args.report is None:
        if read_records(folder) and not args.resume:
            parser.error(f'{folder} has a soak already: give --resume to add to it, or another --work-dir')
        if not Path('/proc/self/task').is_dir():
            parser.error('what processes hold is read from /proc, which this system does not have')
        Soak(folder, args.config, args.cfg_options).run_parts(hours=args.hours, part_minutes=args.part_minutes)
    text, grows = report(read_records(folder))
    print(text)
    return int(grows)


if __name__ == '__main__':
    sys.exit(main())
