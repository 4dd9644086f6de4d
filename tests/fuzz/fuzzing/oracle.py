"""What a loader may do with a file: take it, or refuse it by name, soon, and touch nothing else."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detrove.cli.errors import is_about_the_input

TIME_LIMIT_S = 20
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Events of Python's audit hooks that run programs, reach the network or change files: place of the path in their
#: arguments, None for those that nothing here may cause.
_WATCHED = {
    'os.system': None, 'os.exec': None, 'os.posix_spawn': None, 'os.spawn': None, 'subprocess.Popen': None,
    'os.fork': None, 'socket.connect': None, 'socket.getaddrinfo': None, 'os.mkdir': 0, 'os.rename': 1,
    'os.remove': 0, 'os.rmdir': 0, 'os.link': 1, 'os.symlink': 1, 'os.truncate': 0, 'os.chmod': 0,
}  # fmt: skip
_OTHER_PLACES = ('/dev/', '/proc/')


@dataclass
class Case:
    """Files by name, and what is done with them.

    Attributes:
        files: content of each.
        load: called with the folder that they are in.
        target: the file that a message has to name.
    """

    files: dict[str, bytes]
    load: Callable[[Path], object]
    target: str
    notes: str = ''


@dataclass(frozen=True)
class Outcome:
    """`accepted`, `refused` or `FAULT`, and the message or the fault."""

    kind: str
    message: str = ''


class TooLong(BaseException):
    """Not an Exception: nothing that is tested may catch it."""


@dataclass
class _Watch:
    folder: str | None = None
    seen: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event == 'open':
            path, mode, flags = arguments
            writes = bool(set(mode) & set('wax+')) if isinstance(mode, str) else bool((flags or 0) & _WRITES)
            if writes and isinstance(path, str | bytes) and self._is_outside(path):
                self.seen.append(f'{path!r} was opened to be written')
        elif event in _WATCHED:
            place = _WATCHED[event]
            if place is None or self._is_outside(arguments[place]):
                self.seen.append(f'{event}{arguments!r:.200}')

    def _is_outside(self, path) -> bool:
        if isinstance(path, int):
            return False
        path = os.path.abspath(os.fsdecode(path))
        # caches of compiled Python are written for imports that the loaders put off
        return not path.startswith((self.folder, *_OTHER_PLACES)) and '__pycache__' not in path


_WATCH = _Watch()
_INSTALLED: list[bool] = []


def run_case(case: Case, folder: Path) -> Outcome:
    """Load the files of a case in `folder`, which is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    try:
        with _watched(folder), _time_limit(TIME_LIMIT_S):
            case.load(folder)
        outcome = Outcome('accepted')
    except TooLong:
        outcome = Outcome('FAULT', f'took more than {TIME_LIMIT_S} s')
    except Exception as error:
        outcome = _judge(error, case)
    seen, _WATCH.seen = _WATCH.seen, []
    marks = [name for name in os.listdir(folder) if name.startswith('MARK')]
    if seen or marks:
        outcome = Outcome('FAULT', f'did more than read: {[*seen, *marks][:3]}')
    return outcome


def _judge(error: Exception, case: Case) -> Outcome:
    message = f'{type(error).__name__}: {error}'
    if not is_about_the_input(error):
        return Outcome('FAULT', ''.join(traceback.format_exception(error)[-4:]))
    if case.target not in message:
        return Outcome('FAULT', f'{case.target} is not in the message: {message}')
    return Outcome('refused', message)


@contextlib.contextmanager
def _watched(folder: Path) -> Iterator[None]:
    if not _INSTALLED:  # an audit hook stays for good
        _INSTALLED.append(True)
        sys.addaudithook(_WATCH)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    _WATCH.folder = str(folder.absolute())
    try:
        yield
    finally:
        _WATCH.folder, tempfile.tempdir = None, before


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def interrupt(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
