"""tools/slurm_train.sh puts a job that was asked to end back into the queue; srun and scontrol are stand-ins."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from detrove.engine.hooks.checkpoint import EXIT_REQUEUE

SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'slurm_train.sh'
SRUN = r'''
printf '%s\n' "$*" >> srun.log
trap 'echo SIGUSR1 >> srun.log; exit 75' USR1
trap 'echo SIGTERM >> srun.log; exit 75' TERM
if [ -n "${WAIT:-}" ]; then touch running; for _ in $(seq 600); do sleep 0.05; done; fi
exit "${CODE:-0}"
'''


@pytest.fixture
def job(tmp_path):
    """Starts the script as a batch job would; returns the process."""
    for name, code in dict(srun=SRUN, scontrol='echo "$@" >> scontrol.log').items():
        (tmp_path / name).write_text(f'#!/usr/bin/env bash\n{code}\n')
        (tmp_path / name).chmod(0o755)
    plain = {name: value for name, value in os.environ.items() if not name.startswith('SLURM_')}

    def start(*options, **variables):
        environment = {**plain, 'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', **variables}
        return subprocess.Popen([SCRIPT, 'part', 'name', 'config.py', 'work', *options], cwd=tmp_path, env=environment)

    return start


def read(path):
    return path.read_text() if path.exists() else ''


@pytest.mark.parametrize(('code', 'requeued'), [(EXIT_REQUEUE, 'requeue 12\n'), (0, ''), (1, '')])
def test_exit_status(job, tmp_path, code, requeued):
    assert job('--amp', CODE=str(code), SLURM_JOB_ID='12').wait(20) == code
    assert read(tmp_path / 'scontrol.log') == requeued
    words = read(tmp_path / 'srun.log')
    assert 'train.py config.py --work-dir=work --amp --launcher slurm' in words and '--resume' not in words


def test_without_a_batch_job_nothing_is_requeued(job, tmp_path):
    assert job(CODE=str(EXIT_REQUEUE)).wait(20) == EXIT_REQUEUE
    assert read(tmp_path / 'scontrol.log') == ''


@pytest.mark.parametrize(('options', 'given'), [((), '--resume'), (('--resume', 'x.pth'), '--resume x.pth')])
def test_a_job_that_was_requeued_resumes(job, tmp_path, options, given):
    assert job(*options, SLURM_JOB_ID='12', SLURM_RESTART_COUNT='1').wait(20) == 0
    words = read(tmp_path / 'srun.log')
    assert f'--work-dir=work {given} --launcher' in words and words.count('--resume') == 1


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_script_reaches_training(job, tmp_path, number):
    process = job(WAIT='1', SLURM_JOB_ID='12')
    deadline = time.monotonic() + 20
    while not (tmp_path / 'running').exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(20) == EXIT_REQUEUE
    assert read(tmp_path / 'srun.log').endswith(f'{number.name}\n')
    assert read(tmp_path / 'scontrol.log') == 'requeue 12\n'
