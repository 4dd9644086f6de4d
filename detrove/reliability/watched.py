"""A training watched from outside: the steps that it logs, and what its processes hold. Needs Linux's /proc."""

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_POLL_S = 0.5


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


class WatchedTraining:
    """A training that runs as long as this context.

    Args:
        command: that starts it.
        work_dir: of the training.
        output: file that takes what it prints.
    """

    def __init__(self, command: Sequence[str], work_dir: Path, output: IO[bytes]):
        self.work_dir = work_dir
        self._command, self._output = command, output
        self._log = LogReader(work_dir)
        self._children: set[int] = set()

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdout=self._output, stderr=self._output,
                                         preexec_fn=_die_with_parent)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def new_records(self) -> Iterator[dict]:
        """For each step that was logged since the last call: its number and loss, and what processes hold now."""
        for step in self._log.new_steps():
            main, workers = held_by(self._process.pid), descendants(self._process.pid)
            self._children.update(workers)
            others = [held for held in map(held_by, workers) if held]
            if main:
                files, size = size_of(self.work_dir)
                yield dict(pid=self._process.pid, clock=time.time(), iteration=step['step'], loss=step['loss'],
                           step_s=step['time'], cpu_s=main.cpu_s, main_rss=main.rss, workers=len(others),
                           workers_rss=sum(held.rss for held in others),
                           handles=main.handles + sum(held.handles for held in others),
                           threads=main.threads + sum(held.threads for held in others), files=files, bytes=size)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the training and to all processes that it started."""
        for pid in (self._process.pid, *descendants(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, ending: signal.Signals, *, grace_s: float) -> int:
        """Send the training a signal that ends it; the exit status.

        Raises:
            RuntimeError: It still ran `grace_s` later.
        """
        self._children.update(descendants(self._process.pid))
        self._process.send_signal(ending)
        try:
            return self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f'the training (process {self._process.pid}) did not end within {grace_s} s of '
                               f'{ending.name}') from None

    def left(self, *, patience_s: float = 60) -> int:
        """How many of the processes that it started still run, after some time to end by themselves."""
        deadline = time.monotonic() + patience_s
        while left := sum(held_by(pid) is not None for pid in self._children):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        return left


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a watch that is killed leaves no training behind
