"""What was read from an annotation file, kept in a file that starts in no time and that all processes share.

The file holds JSON and numbers only, so that reading one runs no code. It is mapped into memory: data loading workers
and the ranks of a machine look at the same pages.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from mmengine.logging import print_log

from detrove.version import __version__

from .json_bytes import from_json, to_json

MAGIC = b'detrove records2'  # the layout below
#: Smaller files are read as fast as a cache.
MIN_BYTES = 8 * 2**20
#: A file that changed this short a time ago may change again without its times showing it.
SETTLED_S = 2.0
LOCK_TIMEOUT_S = 900


@dataclass
class Records:
    """Many JSON texts in one buffer.

    Attributes:
        header: what is known of them all.
        text: (B,) uint8, one after the other.
        ends: (N,) int64, where each ends.
        sums: (N,) uint32, CRC-32 of each.
        file: the file that `text` is a view of, None if it is in this process' memory.
    """

    header: dict
    text: np.ndarray
    ends: np.ndarray
    sums: np.ndarray
    file: Path | None = None

    @classmethod
    def pack(cls, header: dict, texts: Sequence[bytes]) -> 'Records':
        return cls(header, np.frombuffer(bytearray().join(texts), np.uint8), *_ends_and_sums(texts))

    def check(self, index: int, text: memoryview) -> None:
        """Raises a ValueError if this is not the text of that record: a file can be damaged after it was mapped."""
        if self.file is not None and zlib.crc32(text) != self.sums[index]:
            raise ValueError(f'{self.file} is damaged in record {index}. Delete it: it is made anew.')

    def __deepcopy__(self, memo: dict) -> 'Records':
        """Nobody changes records. mmengine's runner copies all that it is given, data sets that are built included."""
        memo |= {id(array): array for array in (self.text, self.ends, self.sums)}  # which data sets hold, too
        return self

    def __getstate__(self) -> dict:
        """Processes that are not forked map the file themselves."""
        return self.__dict__ | (dict(text=None) if self.file else {})

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self.file:
            again = read_records(self.file, self.header['key'])
            if again is None:
                raise RuntimeError(f'{self.file} was changed while it was in use. Start again.')
            self.text = again.text


def cached_records(ann_file: str, options: Mapping, build: Callable[[], tuple[dict, Sequence[bytes]]], *,
                   folder: str | None = None) -> Records:
    """The records of an annotation file: those of the cache if it fits, else built, and cached if that is possible.

    Args:
        ann_file: a local file.
        options: everything else that the records depend on, fit for JSON. Caches of other options stand side by side.
        build: gives header and records.
        folder: where the cache is put. None: `.detrove_cache` beside the file; in the user's cache folder where that
            cannot be written.
    """
    if not os.path.isfile(ann_file) or os.stat(ann_file).st_size < MIN_BYTES:
        return Records.pack(*build())
    options = from_json(to_json(dict(options)))
    key = dict(options, file=_fingerprint(ann_file), version=__version__)
    places = [place / _name(ann_file, options) for place in _folders(ann_file, folder)]
    for place in places:
        if (found := read_records(place, key)) is not None:
            return found
    with _first_writable(places) as place:
        if place is not None and (found := read_records(place, key)) is not None:
            return found  # built by another process while this one waited
        header, texts = build()
        header = header | dict(key=key)
        if place is None or not _is_settled(key['file']) or _fingerprint(ann_file) != key['file']:
            return Records.pack(header, texts)
        try:
            _write(place, header, texts)
        except OSError as error:
            print_log(f'The annotations of {ann_file} are not cached: {error}', 'current', logging.WARNING)
            return Records.pack(header, texts)
        return read_records(place, key) or Records.pack(header, texts)


def read_records(file: Path, key: dict) -> Records | None:
    """Map a cache file; None if there is none, or if it is cut short, foreign, or made from something else."""
    try:
        with open(file, 'rb') as stream:
            start = stream.read(len(MAGIC) + 32)
            if len(start) < len(MAGIC) + 32 or not start.startswith(MAGIC):
                return None
            header_bytes, number, text_bytes, checksum = np.frombuffer(start, '<u8', offset=len(MAGIC)).tolist()
            begin = len(start) + header_bytes + 12 * number
            if os.fstat(stream.fileno()).st_size != begin + text_bytes:
                return None
            head = stream.read(header_bytes + 12 * number)
            if zlib.crc32(head) != checksum:
                return None
        header = from_json(head[:header_bytes])
        if header['key'] != key:
            return None
        ends = np.frombuffer(head, '<i8', number, header_bytes)
        sums = np.frombuffer(head, '<u4', number, header_bytes + 8 * number)
        return Records(header, np.memmap(file, np.uint8, 'r', begin, (text_bytes,)).view(np.ndarray), ends, sums, file)
    except (OSError, ValueError):
        return None


def _ends_and_sums(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return lengths.cumsum(), np.fromiter(map(zlib.crc32, texts), np.uint32, len(texts))


def _write(file: Path, header: dict, texts: Sequence[bytes]) -> None:
    """In one step: who reads at the same time sees the old file or the new one."""
    header_text = to_json(header)
    ends, sums = _ends_and_sums(texts)
    arrays = ends.astype('<i8').tobytes() + sums.astype('<u4').tobytes()
    numbers = [len(header_text), len(texts), sum(map(len, texts)), zlib.crc32(header_text + arrays)]
    handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f'.{file.name}.')
    try:
        with open(handle, 'wb', buffering=2**20) as stream:
            stream.write(MAGIC + np.array(numbers, '<u8').tobytes() + header_text + arrays)
            stream.writelines(texts)
        os.chmod(partial, 0o644)  # others who share the data set read it too
        os.replace(partial, file)
    except BaseException:
        os.unlink(partial)
        raise


@contextlib.contextmanager
def _first_writable(places: Sequence[Path]) -> Iterator[Path | None]:
    """The first of the files that can be written, locked against other processes that build it."""
    reasons = []
    with contextlib.ExitStack() as stack:
        chosen = None
        for place in places:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(f'{place}.lock', timeout=LOCK_TIMEOUT_S))
            except (OSError, NotImplementedError, Timeout) as error:
                reasons.append(str(error))
                continue
            chosen = place
            break
        if chosen is None:
            print_log(f'Annotations are not cached: {"; ".join(reasons)}', 'current', logging.WARNING)
        yield chosen


def _folders(ann_file: str, folder: str | None) -> list[Path]:
    if folder is not None:
        return [Path(folder).expanduser()]
    user = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'detrove' / 'annotations'
    return [Path(ann_file).absolute().parent / '.detrove_cache', user]


def _name(ann_file: str, options: dict) -> str:
    path = Path(ann_file).absolute()
    marks = hashlib.sha256(to_json([str(path), options])).hexdigest()[:16]
    return f'{path.stem}-{marks}.records'


def _fingerprint(ann_file: str) -> dict:
    """The time of change, unlike that of modification, cannot be set back by copying tools."""
    stat = os.stat(ann_file)
    return dict(path=str(Path(ann_file).absolute()), bytes=stat.st_size, modified=stat.st_mtime_ns,
                changed=stat.st_ctime_ns)


def _is_settled(fingerprint: dict) -> bool:
    return time.time_ns() - max(fingerprint['modified'], fingerprint['changed']) >= SETTLED_S * 1e9
