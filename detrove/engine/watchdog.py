"""Who keeps whom waiting when processes that train together stop getting on."""

import datetime
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import FrameType

from torch.distributed import PrefixStore, Store, TCPStore

_LONGEST_BEAT_S = 10.0
_BEATS_PER_LIMIT = 20
_BEATS_TO_ANSWER = 4  # a process that has said nothing for so long is stopped, or dead
_FRAMES = 4
_MOST_IMAGES = 16


@dataclass(frozen=True)
class Standing:
    """What a process does.

    Attributes:
        order: counts its steps, two for each iteration: before and in it. The smallest of all processes is behind.
        doing: in words, such as `in iteration 7`.
        seconds: since it began to.
        waits_in: what it waits for the others in, such as `all_reduce`; empty if it does not wait.
        place: innermost lines of code, the innermost first.
        images: that it works on, or loads.
        beat: counts what was said by this process.
    """

    order: int
    doing: str
    seconds: float
    waits_in: str
    place: tuple[str, ...]
    images: tuple[str, ...]
    beat: int = 0


class Watchdog:
    """A thread that says which processes the others wait for, and what those do, when nothing moves for some time.

    The thread of each process puts what its process does into torch.distributed's store every few seconds, so that
    something is known also of a process that is stopped or dead. The first process that answers speaks for all.

    Args:
        rank, world_size: of this process.
        seconds: without progress, after which it speaks.
        store: that all processes reach; only this thread may use it.
        say: is given the text, once each time that nothing moves.
    """

    def __init__(self, *, rank: int, world_size: int, seconds: float, store: Store, say: Callable[[str], None]):
        self.rank, self.world_size, self.seconds, self.store, self.say = rank, world_size, seconds, store, say
        self.last_words = ''
        self._beat_s = min(seconds / _BEATS_PER_LIMIT, _LONGEST_BEAT_S)
        self._watched = threading.get_ident()
        self._beats = self._stalled_beats = 0
        self._earlier: dict[int, Standing] = {}
        self._end = threading.Event()
        self.note(0, lambda stalled: ('before the first iteration', ()))
        self._thread = threading.Thread(target=self._run, name='detrove watchdog', daemon=True)
        self._thread.start()

    def note(self, order: int, describe: Callable[[bool], tuple[str, Sequence[str]]]) -> None:
        """Progress of the process that is watched. Cheap: what it means is found out by the thread.

        Args:
            order: see `Standing`.
            describe: gives `doing` and `images` of `Standing`; called with whether nothing has moved for some time.
        """
        self._now = order, describe, time.monotonic()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(timeout=2 * self._beat_s)

    def _run(self) -> None:
        try:
            while not self._end.wait(self._beat_s):
                self._beat()
        except Exception as error:  # the store goes with the process that holds it
            if not self._end.is_set():
                self.say(f'the watchdog of process {self.rank} ends: {type(error).__name__}: {error}')

    def _beat(self) -> None:
        mine = self.standing()
        self.store.set(str(self.rank), json.dumps(asdict(mine)))
        if mine.seconds < self.seconds:
            self._stalled_beats, self.last_words = 0, ''
            return
        self._stalled_beats += 1
        if self._stalled_beats == 1:
            self._earlier = self._read()
        elif self._stalled_beats == 1 + _BEATS_TO_ANSWER:
            standings = self._read()
            silent = {rank for rank in range(self.world_size) if rank not in standings or rank in self._earlier
                      and standings[rank].beat == self._earlier[rank].beat}
            self.last_words = describe_stall(standings, silent, world_size=self.world_size)
            if self.rank == min(set(range(self.world_size)) - silent, default=self.rank):
                self.say(self.last_words)

    def standing(self) -> Standing:
        """What the process does now."""
        order, describe, since = self._now
        seconds = time.monotonic() - since
        doing, images = describe(seconds >= self.seconds)
        waits_in, place = where_it_stands(sys._current_frames().get(self._watched))
        self._beats += 1
        return Standing(order, doing, seconds, waits_in, place, tuple(images)[:_MOST_IMAGES], self._beats)

    def _read(self) -> dict[int, Standing]:
        found = {}
        for rank in range(self.world_size):
            if self.store.check([str(rank)]):
                said = json.loads(self.store.get(str(rank)))
                found[rank] = Standing(**{name: tuple(value) if isinstance(value, list) else value
                                          for name, value in said.items()})
        return found


def connect() -> Store:
    """A connection of its own to the store through which the processes of this training have met."""
    store = TCPStore(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']), is_master=False,
                     wait_for_workers=False, timeout=datetime.timedelta(seconds=30))
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    return PrefixStore(f'detrove/watchdog/{attempt}', store)


def where_it_stands(frame: FrameType | None) -> tuple[str, tuple[str, ...]]:
    """What a thread waits for other processes in, '' if it does not, and its innermost lines of code."""
    lines, waits_in, innermost = [], '', True
    while frame is not None:
        path, name = frame.f_code.co_filename.replace(os.sep, '/'), frame.f_code.co_name
        if innermost and path.endswith('torch/autograd/graph.py') and name == '_engine_run_backward':
            waits_in = 'backward, where gradients are averaged'
        elif innermost and path.endswith('torch/nn/parallel/distributed.py'):
            waits_in = 'DistributedDataParallel'
        elif '/torch/distributed/' in path and (innermost or waits_in):
            waits_in = name if not path.endswith('c10d_logger.py') else waits_in or name
        innermost = False
        if not lines or '/torch/' not in path and '/mmengine/' not in path:
            lines.append(f'{"/".join(path.split("/")[-2:])}:{frame.f_lineno} in {name}')
        frame = frame.f_back
    return waits_in, tuple(lines[:_FRAMES])


def describe_stall(standings: Mapping[int, Standing], silent: set[int], *, world_size: int) -> str:
    """A text that names the processes the others wait for.

    Args:
        standings: by rank; of some silent processes nothing is known.
        silent: processes that no longer say what they do.
        world_size: number of processes.
    """
    here = {rank: one for rank, one in standings.items() if rank not in silent}
    waiting = {rank for rank, one in here.items() if one.waits_in}
    missing = set(range(world_size)) - waiting
    if not waiting:  # on a GPU a process waits in the next copy from it, which does not show
        first = min((one.order for one in here.values()), default=0)
        missing = silent or {rank for rank, one in here.items() if one.order == first}
        waiting = set(here) - missing
    seconds = min((one.seconds for one in here.values()), default=0)
    headline = f'no progress for {seconds:.0f} s: '
    if waiting and missing:
        headline += f'{_ranks(waiting)} {"waits" if len(waiting) == 1 else "wait"} for {_ranks(missing)}'
    elif waiting:
        headline += 'all processes wait for each other, in different calls'
        missing = waiting
    else:
        headline += 'no process waits for another'
    lines = [headline]
    for rank in sorted(missing):
        lines += _about(rank, standings.get(rank), rank in silent)
    alike: dict[str, set[int]] = {}
    for rank in sorted(waiting - missing):
        alike.setdefault(_what(standings[rank]), set()).add(rank)
    lines += [f'  {_ranks(ranks)}: {what}' for what, ranks in alike.items()]
    return '\n'.join(lines)


def _about(rank: int, standing: Standing | None, is_silent: bool) -> list[str]:
    if standing is None:
        return [f'  rank {rank}: has said nothing yet']
    silent = ', and no longer answers' if is_silent else ''
    images = ', '.join(standing.images)
    return [f'  rank {rank}: {_what(standing)}{silent}', *([f'    images: {images}'] if images else [])]


def _what(standing: Standing) -> str:
    waits = f', waits in {standing.waits_in}' if standing.waits_in else ''
    return f'{standing.doing}{waits}, at {" < ".join(standing.place) or "an unknown line"}'


def _ranks(ranks: set[int]) -> str:
    """`rank 3`, or `ranks 0, 2-5`."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    text = ', '.join(str(first) if first == last else f'{first}-{last}' for first, last in runs)
    return f'rank{"s" * (len(ranks) > 1)} {text}'
