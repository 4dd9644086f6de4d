"""Fuzzes everything that reads files: `python tests/fuzz --cases 20000`.

Cases follow from `--seed` alone. They run in parts, each in a process of its own, so that a crash of the interpreter is
one finding and not the end. Exit status 1 when there was a fault; its files are kept.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from fuzzing.kinds import KINDS, SHARES
from fuzzing.oracle import run_case
from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.progress import track

PART = 250


def main() -> int:
    parser = argparse.ArgumentParser(prog='python tests/fuzz', description=__doc__.splitlines()[0])
    parser.add_argument('--cases', type=int, default=20_000, metavar='N', help='how many (20000)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the first part (0)')
    parser.add_argument('--kinds', nargs='+', choices=list(KINDS), default=list(KINDS), help='which files (all)')
    parser.add_argument('--keep', type=Path, default=Path('fuzz_faults'), metavar='DIR',
                        help='where the files of faults go (fuzz_faults)')
    args = parser.parse_args()
    parts = _parts(args)
    counts = {kind: Counter() for kind in args.kinds}
    seconds, faults = Counter(), []
    for kind, first, number in track(parts, f'{args.cases:,} cases', disable=not sys.stderr.isatty()):
        start = time.time()
        found = _in_process(kind, first, number, args.keep)
        seconds[kind] += time.time() - start
        counts[kind].update(found['counts'])
        faults += found['faults']
        print(f'{kind} {first}: {dict(counts[kind])}', file=sys.stderr, flush=True)
        for fault in found['faults'][:3]:
            print(f'FAULT {kind}: {fault}', file=sys.stderr, flush=True)
    print(f'{"kind":<14}{"cases":>8}{"accepted":>10}{"refused":>10}{"FAULT":>7}{"seconds":>9}')
    for kind, count in counts.items():
        print(f'{kind:<14}{count.total():>8,}{count["accepted"]:>10,}{count["refused"]:>10,}{count["FAULT"]:>7,}'
              f'{seconds[kind]:>9.0f}')
    total = sum(counts.values(), Counter())
    print(f'{"all":<14}{total.total():>8,}{total["accepted"]:>10,}{total["refused"]:>10,}{total["FAULT"]:>7,}'
          f'{seconds.total():>9.0f}')
    return int(bool(faults))


def _parts(args) -> list[tuple[str, int, int]]:
    whole = sum(SHARES[kind] for kind in args.kinds)
    parts = []
    for kind in args.kinds:
        number = round(args.cases * SHARES[kind] / whole)
        parts += [(kind, args.seed + start // PART, min(PART, number - start)) for start in range(0, number, PART)]
    return parts


def _in_process(kind: str, first: int, number: int, keep: Path) -> dict:
    """Run a part in a fork: all modules are there already."""
    scratch = Path(tempfile.mkdtemp(prefix='fuzz'))
    try:
        child = os.fork()
        if not child:
            try:
                _run(kind, first, number, scratch, keep)
            except BaseException:
                (scratch / 'found.json').write_text(json.dumps(dict(counts={}, faults=[traceback.format_exc()])))
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        progress = scratch / 'found.json'
        found = json.loads(progress.read_text()) if progress.exists() else dict(counts={}, faults=[])
        if status:
            crash = f'ended by {signal.Signals(os.WTERMSIG(status)).name}' if os.WIFSIGNALED(status) else f'{status}'
            shutil.copytree(scratch / 'case', keep / f'{kind}-{first}-crash', dirs_exist_ok=True)
            found['faults'].append(crash)
            found['counts']['FAULT'] = found['counts'].get('FAULT', 0) + 1
        return found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(kind: str, first: int, number: int, scratch: Path, keep: Path) -> None:
    warnings.simplefilter('ignore')
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)  # decoders written in C complain there
    counts, faults = Counter(), []

    @seed(first)
    @settings(max_examples=number, phases=[Phase.generate], database=None, deadline=None,
              suppress_health_check=list(HealthCheck))
    @given(KINDS[kind])
    def run(case):
        outcome = run_case(case, scratch / 'case')
        counts[outcome.kind] += 1
        if outcome.kind == 'FAULT':
            name = f'{kind}-{first}-{len(faults)}'
            shutil.copytree(scratch / 'case', keep / name, dirs_exist_ok=True)
            faults.append(f'{keep / name}: {outcome.message}\n  {case.notes}')
        (scratch / 'found.json').write_text(json.dumps(dict(counts=counts, faults=faults)))

    run()


if __name__ == '__main__':
    sys.exit(main())
