"""The watch over long trainings: its arithmetic, what it reads of processes, and parts of a stand-in for training."""

import os
import subprocess
import sys

import pytest

from detrove.reliability.soak import Soak, descendants, held_by, main, read_records
from detrove.reliability.soak_report import report, thirds, warm_parts

MIB = 2**20
STEPS_BETWEEN_PARTS = 975  # 1000 in each, 25 of them again after a kill


def records(*, parts=3, samples=20, **changes):
    """Records of a soak that holds the same all along, except for `changes`: functions of part and step."""
    found = []
    for part in range(parts):
        for number in range(1, samples + 1):
            step = STEPS_BETWEEN_PARTS * part + 50 * number
            steady = dict(main_rss=400 * MIB, workers=2, workers_rss=200 * MIB, handles=40, threads=9,
                          files=12 + 5 * part, bytes=30 * MIB, cpu_s=0.02 * 50 * number, yardstick_ms=8.0, step_s=0.03)
            changed = {name: change(part, step) for name, change in changes.items()}
            found.append({**steady, **changed, 'part': part, 'iteration': step})
        found.append(dict(part=part, ended='SIGKILL', status=-9, seconds=60.0, left=0))
    return found


def test_flat():
    text, grows = report(records())
    assert not grows and 'flat: nothing grows' in text
    assert '| CPU time per step (ms) at even speed | 20 | 20 | 20 |' in text
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


def test_slower_steps_on_a_slower_machine_are_no_growth():
    def cpu_s(part, step):  # each step slower than the one before
        within = step - STEPS_BETWEEN_PARTS * part
        return 1e-5 * within**2

    slower = records(cpu_s=cpu_s)
    assert 'grows: CPU time per step' in report(slower)[0]
    for record in slower:
        if 'iteration' in record:
            record['yardstick_ms'] = 8.0 * (record['iteration'] - STEPS_BETWEEN_PARTS * record['part'] - 25)
    assert not report(slower)[1]


def test_parts_of_before_the_yardstick():
    old = [{key: value for key, value in record.items() if key != 'yardstick_ms'} for record in records(parts=2)]
    new = [{**record, 'part': record['part'] + 2} for record in records(parts=2)]
    assert report(old + new)[0].count('| 20 | 20 | 20 |') == 1
    assert '| CPU time per step (ms) at even speed |  |  |  |  |  | not measured |' in report(old)[0]


def test_what_comes_before_the_first_validation_is_warm_up():
    def is_early(part, step):
        return step - STEPS_BETWEEN_PARTS * part <= 400

    found = records(workers=lambda *at: 1 if is_early(*at) else 2, handles=lambda *at: 20 if is_early(*at) else 40)
    assert not report(found)[1]
    early = [record for record in found if record['part'] == 1 or record.get('workers') != 1]  # the first part has it
    assert not report(early)[1] and len(warm_parts(early)) == 3


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
    soak = Soak(tmp_path, 'unused', [])
    soak.command = [sys.executable, '-c', STAND_IN, str(tmp_path / 'run')]
    assert soak.run_parts(hours=1 / 3600, part_minutes=1) == 1
    lasted = read_records(tmp_path)[-1]['seconds']
    assert soak.run_parts(hours=(lasted + 1) / 3600, part_minutes=1) == 2
    found = read_records(tmp_path)
    assert any(record.get('yardstick_ms', 0) > 0 for record in found)
    ends = [(record['ended'], record['status'], record['left']) for record in found if 'ended' in record]
    assert ends == [('SIGKILL', -9, 0), ('SIGTERM', 75, 0)]
    steps = [record['iteration'] for record in found if 'iteration' in record]
    assert steps == sorted(set(steps)) and {record['part'] for record in found} == {0, 1}
    assert {record['workers'] for record in found if 'iteration' in record} <= {0, 1}
    main(['--report', str(tmp_path)])
    assert '2 parts (1 by SIGKILL, 1 by SIGTERM)' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(['--work-dir', str(tmp_path)])
    assert 'give --resume' in capsys.readouterr().err


def test_a_training_that_fails_ends_the_soak(tmp_path):
    soak = Soak(tmp_path, 'unused', [])
    soak.command = [sys.executable, '-c', 'raise SystemExit(3)']
    with pytest.raises(RuntimeError, match='part 0: exit status 3 where 0 was expected, see .*soak.log'):
        soak.run_parts(hours=1, part_minutes=1)
