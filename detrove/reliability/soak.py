"""Train for hours, ended and killed now and then, and watch what the processes hold and whether steps get slower.

    python -m detrove.reliability.soak --hours 4 --part-minutes 30 --work-dir soak
    python -m detrove.reliability.soak --report soak

Each part is a process `detrove train CONFIG --resume`, ended by SIGKILL and SIGTERM in turn. What it holds is read
from /proc, so that the training is the one that everybody runs; this needs Linux. At the end, the last part takes turns
with a training that has just begun, so that the steps of both meet the same machine.
"""

import argparse
import itertools
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .soak_report import report
from .watched import WatchedTraining

_RECORDS, _LOG, _RUN = 'soak.jsonl', 'soak.log', 'run'
_ENDINGS = (signal.SIGKILL, signal.SIGTERM)
_GRACE_S = 300  # for the step, and the checkpoint after it, at SIGTERM
_START_S = 1800  # until the first step is logged
_POLL_S = 0.5
_TURN_S = 30
#: The sample data, much longer than anybody waits, with a checkpoint every other epoch.
_CONFIG = 'rt_detr/rtdetr_nano_shapes.py'
_OPTIONS = ('train_cfg.max_epochs=100000', 'train_cfg.val_interval=4', 'default_hooks.checkpoint.interval=2')


class Soak:
    """The parts of a long training, and a file with what was seen.

    Args:
        folder: where records, output and the training's work directory lie.
        command: that starts or resumes a training; the training's work directory is its last argument, added here.
    """

    def __init__(self, folder: Path, command: Sequence[str]):
        self.folder, self.command = folder, command
        folder.mkdir(parents=True, exist_ok=True)
        self.records = folder / _RECORDS

    def write(self, **record) -> None:
        with open(self.records, 'a', encoding='utf-8') as file:
            file.write(json.dumps(record) + '\n')

    def run_parts(self, *, hours: float, part_minutes: float, compare_minutes: float, turn_s: float = _TURN_S) -> int:
        """Train until all parts together have lasted so long, then compare; returns how many parts there are.

        Raises:
            RuntimeError: A training ended by itself with an error, or did not end when it was asked to.
        """
        parts = [record for record in read_records(self.folder) if 'ended' in record]
        number, lasted = len(parts), sum(part['seconds'] for part in parts)
        while lasted < hours * 3600:
            rest = hours * 3600 - lasted
            is_last = rest <= part_minutes * 60
            took, finished = self._run_part(number, _ENDINGS[number % len(_ENDINGS)], min(part_minutes * 60, rest),
                                            compare_s=60 * compare_minutes * is_last, turn_s=turn_s)
            number, lasted = number + 1, lasted + took
            if finished:
                break
        return number

    def _training(self, work_dir: Path, output) -> WatchedTraining:
        return WatchedTraining([*self.command, str(work_dir)], work_dir, output)

    def _run_part(self, number: int, ending: signal.Signals, seconds: float, *, compare_s: float,
                  turn_s: float) -> tuple[float, bool]:
        start = time.monotonic()
        with open(self.folder / _LOG, 'ab') as output, self._training(self.folder / _RUN, output) as training:
            end = None  # a part lasts from its first logged step
            while training.status() is None and (end is None or time.monotonic() < end):
                time.sleep(_POLL_S)
                for record in training.new_records():
                    end = end or time.monotonic() + seconds
                    self.write(part=number, **record)
                if end is None and time.monotonic() - start > _START_S:
                    raise RuntimeError(f'part {number}: no step within {_START_S} s, see {self.folder / _LOG}')
            took = time.monotonic() - start
            if compare_s and training.status() is None:
                self._compare(number, training, output, compare_s, turn_s)
            finished = training.status() is not None
            status = training.status() if finished else training.end(ending, grace_s=_GRACE_S)
            self.write(part=number, ended='by itself' if finished else ending.name, status=status, seconds=took,
                       left=training.left())
        expected = 0 if finished else {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 75}[ending]
        if status not in {0, expected}:
            raise RuntimeError(f'part {number}: exit status {status} where {expected} was expected, see '
                               f'{self.folder / _LOG}')
        return took, finished

    def _compare(self, number: int, training: WatchedTraining, output, seconds: float, turn_s: float) -> None:
        """Let the part's training and a new one run in turns, one of them stopped at any time."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder, self._training(Path(folder), output) as fresh:
            end = time.monotonic() + seconds
            turns = itertools.cycle({'fresh': fresh, 'long': training}.items())
            training.signal_all(signal.SIGSTOP)
            try:
                while time.monotonic() < end and training.status() is None and fresh.status() is None:
                    self._turn(number, *next(turns), turn_s)
            finally:  # a data worker that stays stopped would never see that its training is gone
                training.signal_all(signal.SIGCONT)
                fresh.signal_all(signal.SIGCONT)
            if fresh.status() is not None:
                raise RuntimeError(f'the training to compare with ended by itself with status {fresh.status()}, see '
                                   f'{self.folder / _LOG}')
            fresh.end(signal.SIGKILL, grace_s=_GRACE_S)
            fresh.left()  # its data workers write nothing any more when the folder goes

    def _turn(self, number: int, name: str, runs: WatchedTraining, seconds: float) -> None:
        runs.signal_all(signal.SIGCONT)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(_POLL_S, seconds))
            for record in runs.new_records():
                self.write(part=number, turn_of=name, **record)
        runs.signal_all(signal.SIGSTOP)


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
    parser.add_argument('--compare-minutes', type=float, default=20,
                        help='how long the last part and a new training take turns (%(default)s; 0: not at all)')
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
        command = [sys.executable, '-m', 'detrove', 'train', args.config, '--no-preflight', '--resume', '--cfg-options',
                   *args.cfg_options, '--work-dir']
        Soak(folder, command).run_parts(hours=args.hours, part_minutes=args.part_minutes,
                                        compare_minutes=args.compare_minutes)
    try:
        text, grows = report(read_records(folder))
    except ValueError as error:
        parser.error(f'{folder}: {error}')
    print(text)
    return int(grows)


if __name__ == '__main__':
    sys.exit(main())
