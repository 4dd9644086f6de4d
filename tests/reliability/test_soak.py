"""The watch over long trainings: its arithmetic, what it reads of processes, and parts of a stand-in for training."""

import itertools
import os
import subprocess
import sys

import pytest

from detrove.reliability.soak import Soak, main, read_records
from detrove.reliability.soak_report import report, thirds, warm_parts
from detrove.reliability.watched import descendants, held_by

MIB = 2**20
STEPS_BETWEEN_PARTS = 975  # 1000 in each, 25 of them again after a kill


def records(*, parts=3, samples=20, **changes):
    """Records of a soak that holds the same all along, except for `changes`: functions of part and step."""
    found = []
    for part in range(parts):
        for number in range(1, samples + 1):
            step = STEPS_BETWEEN_PARTS * part + 50 * number
            steady = dict(main_rss=400 * MIB, workers=2, workers_rss=200 * MIB, handles=40, threads=9,
                          files=12 + 5 * part, bytes=30 * MIB, cpu_s=0.02 * 50 * number, step_s=0.03,
                          clock=60.0 * part + number)
            changed = {name: change(part, step) for name, change in changes.items()}
            found.append({**steady, **changed, 'part': part, 'iteration': step})
        found.append(dict(part=part, ended='SIGKILL', status=-9, seconds=60.0, left=0))
    return found


def test_flat():
    text, grows = report(records())
    assert not grows and 'flat: nothing grows' in text
    assert '| CPU time per step (ms), as measured | 20 | 20 | 20 |' in text
    assert 'CPU time per step: not compared' in text
    assert '3 parts (3 by SIGKILL), 0.05 h, 2950 steps' in text and '0 processes left behind' in text


@pytest.mark.parametrize(('name', 'change'), [
    ('memory, training process', {'main_rss': lambda part, step: 400 * MIB + step * MIB // 100}),
    ('file handles', {'handles': lambda part, step: 40 + step // 200}),
    ('threads', {'threads': lambda part, step: 9 + part}),  # not inside parts, from one to the next
    ('files in the work directory', {'files': lambda part, step: 12 + 20 * part}),
    ('work directory (MiB)', {'bytes': lambda part, step: 30 * MIB + step * MIB // 100}),
])
def test_growing(name, change):
    text, grows = report(records(**change))
    (row,) = [line for line in text.splitlines() if line.startswith(f'| {name}')]
    assert grows and row.endswith('| grows |') and text.splitlines()[-1].startswith(f'grows: {name}')
    assert text.count('| grows |') == 1


def turns(long_ms, fresh_ms, *, of_ten=10):
    """Samples of turns of 100 steps, whose CPU time is a function of the clock; ten turns of each."""
    found, cpu_s = [], dict(long=500.0, fresh=0.0)
    for turn in range(2 * of_ten):
        name = ('fresh', 'long')[turn % 2]
        for half in (1, 2):
            clock = 30 * turn + 15 * half
            cpu_s[name] += 50 * (long_ms if name == 'long' else fresh_ms)(clock) / 1000
            step = 50 * (2 * (turn // 2) + half) + (3000 if name == 'long' else 0)
            found.append(dict(part=2, turn_of=name, iteration=step, clock=clock, cpu_s=cpu_s[name], step_s=15.0,
                              workers=1 if name == 'fresh' and turn < 4 else 2))
    return found


def test_steps_that_are_slower_than_those_of_a_new_training():
    def busy(clock):  # the machine gets slower and slower
        return 20 + clock / 10

    text, grows = report(records() + turns(busy, busy))
    assert not grows and 'in turns with a new training' in text and 'after 4000 steps' in text
    assert '| CPU time per step (ms), as measured | 20 | 20 | 20 |' in text  # turns are no part of trends

    text, grows = report(records() + turns(lambda clock: 1.1 * busy(clock), busy))
    assert grows and text.endswith('grows: CPU time per step')

    text, grows = report(records() + turns(busy, busy, of_ten=3))
    assert not grows and 'too few turns' in text and text.endswith('slower is not known')


def test_what_comes_before_the_first_validation_is_warm_up():
    def is_early(part, step):
        return step - STEPS_BETWEEN_PARTS * part <= 400

    found = records(workers=lambda *at: 1 if is_early(*at) else 2, handles=lambda *at: 20 if is_early(*at) else 40)
    assert not report(found)[1]
    early = [record for record in found if record['part'] == 1 or record.get('workers') != 1]  # the first part has it
    assert not report(early)[1] and len(warm_parts(early)) == 3


def test_a_process_that_is_seen_twice():
    assert not report(records(workers=lambda part, step: 3 if step == 500 else 2))[1]


def test_slope_leaves_out_warm_up_and_single_jumps():
    def filling(part, step):
        filled = min(0, step - STEPS_BETWEEN_PARTS * part - 250)
        return (400 + filled + 300 * (step == 700)) * MIB

    assert not report(records(main_rss=filling))[1]


def test_checkpoints_fill_the_work_directory_until_as_many_are_there_as_are_kept():
    assert not report(records(bytes=lambda part, step: (0 if part == 0 else 90) * MIB))[1]
    assert report(records(parts=5, bytes=lambda part, step: 20 * part * MIB))[1]


def test_too_few_samples():
    with pytest.raises(ValueError, match='let parts last longer'):
        report(records(parts=2, samples=3))
    single = warm_parts(records(parts=1, samples=20))
    first, middle, last = thirds(single)
    assert len(first) == len(last) == 5 and first + middle + last == single[0]


def test_reads_what_a_process_holds(tmp_path):
    child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
    try:
        assert child.pid in descendants(os.getpid())
    finally:
        child.communicate(b'\n')
    before = held_by(os.getpid())
    with open(tmp_path / 'one', 'w'), open(tmp_path / 'two', 'w'):
        assert held_by(os.getpid()).handles - before.handles == 2
    assert before.rss > 10 * MIB and before.threads >= 1 and before.cpu_s > 0
    assert held_by(child.pid) is None


# Logs a step every 20 ms, goes on where the log of the part before it ended, saves nothing.
STAND_IN = """
import json, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
worker = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE)
run = pathlib.Path(sys.argv[1])
logs = sorted(run.glob('*/vis_data/scalars.json'))
step = sum(len(log.read_text().splitlines()) for log in logs)
log = run / str(len(logs)) / 'vis_data' / 'scalars.json'
log.parent.mkdir(parents=True)
while True:
    step += 1
    with log.open('a') as file:
        file.write(json.dumps(dict(step=step, loss=1.0, time=0.02)) + '\\n')
    time.sleep(0.02)
"""


def test_parts_end_by_signals_in_turn_and_are_added_to(tmp_path, capsys):
    soak = Soak(tmp_path, [sys.executable, '-c', STAND_IN])
    assert soak.run_parts(hours=1 / 3600, part_minutes=1, compare_minutes=0) == 1
    lasted = read_records(tmp_path)[-1]['seconds']
    assert soak.run_parts(hours=(lasted + 1) / 3600, part_minutes=1, compare_minutes=3 / 60, turn_s=0.5) == 2
    found = read_records(tmp_path)
    in_turns = [(record['turn_of'], record['part']) for record in found if 'turn_of' in record]
    assert {*in_turns} == {('long', 1), ('fresh', 1)}
    changes = sum(now != before for before, now in itertools.pairwise(in_turns))
    assert 1 <= changes <= 6  # one waits while the other runs
    assert {path.name for path in tmp_path.iterdir()} == {'run', 'soak.jsonl', 'soak.log'}
    ends = [(record['ended'], record['status'], record['left']) for record in found if 'ended' in record]
    assert ends == [('SIGKILL', -9, 0), ('SIGTERM', 75, 0)]
    steps = [record['iteration'] for record in found if 'iteration' in record and 'turn_of' not in record]
    assert steps == sorted(set(steps)) and {record['part'] for record in found} == {0, 1}
    assert {record['workers'] for record in found if 'iteration' in record} <= {0, 1}
    main(['--report', str(tmp_path)])
    assert '2 parts (1 by SIGKILL, 1 by SIGTERM)' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(['--work-dir', str(tmp_path)])
    assert 'give --resume' in capsys.readouterr().err


def test_a_training_that_fails_ends_the_soak(tmp_path):
    soak = Soak(tmp_path, [sys.executable, '-c', 'raise SystemExit(3)'])
    with pytest.raises(RuntimeError, match='part 0: exit status 3 where 0 was expected, see .*soak.log'):
        soak.run_parts(hours=1, part_minutes=1, compare_minutes=0)
