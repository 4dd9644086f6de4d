"""Checkpoint files on disk: written whole or not at all, checked, and found again."""

import contextlib
import errno
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

_UNFINISHED = '.{}.unfinished'
_REGULAR = re.compile(r'(epoch|iter)_\d+\.pth')


@contextlib.contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A name in the folder of `path` to write to; what was written is flushed to disk and then takes the name `path`.

    Raises:
        OSError: The disk is full, or cannot be written; what was at `path` before is still there.
    """
    unfinished = path.with_name(_UNFINISHED.format(path.name))
    try:
        yield unfinished
        with open(unfinished, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OSError(error.errno, _cannot_write(path, error)) from error


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for path in folder.glob(_UNFINISHED.format('*')):
        path.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> str:
    last = next((f'the last one is whole: {one}' for one in _newest_first(path.parent) if damage(one) is None),
                'there is no earlier one')
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free / 2**20
        reason, way_out = f'the disk is full ({free:.0f} MB free)', 'Make room'
    else:
        reason, way_out = error.strerror or str(error), 'Make the folder writable'
    return f'the checkpoint {path} was not written: {reason}; {last}. {way_out} and continue with --resume.'


def _sync_folder(folder: Path) -> None:
    """The new name reaches the disk, too."""
    with contextlib.suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file of torch, or None; every byte is read and compared with its check sum."""
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
    except FileNotFoundError:
        return 'there is no such file'
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError) as error:
        return f'cut or not a checkpoint ({error})'
    return None if broken is None else f'damaged (the check sum of {broken} is wrong)'


def choose_checkpoint(work_dir: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint with which a training goes on: the one that `last_checkpoint` names, or the one before it.

    Returns:
        The file, None if training was interrupted before the first one; and what is wrong with later files.

    Raises:
        ValueError: There are checkpoints, and all are damaged.
    """
    problems = []
    for path in _candidates(work_dir):
        problem = damage(path)
        if problem is None:
            return path, problems
        problems.append(f'{path}: {problem}')
    if problems:
        raise ValueError('--resume: no checkpoint is whole:' + ''.join(f'\n  {one}' for one in problems)
                         + '\nRemove them to start from the beginning, or name another one: --resume CHECKPOINT')
    return None, problems


def _candidates(work_dir: Path) -> list[Path]:
    pointer = work_dir / 'last_checkpoint'
    named = pointer.read_text(encoding='utf-8', errors='replace').strip('\0 \n') if pointer.is_file() else ''
    last = [Path(named)] if named else []
    if last and not last[0].exists() and (work_dir / last[0].name).exists():  # the folder was moved
        last = [work_dir / last[0].name]
    folder = last[0].parent if last and last[0].parent.is_dir() else work_dir
    return [*last, *(path for path in _newest_first(folder) if path not in last)]


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if _REGULAR.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
