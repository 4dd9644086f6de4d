"""Two processes on the CPU started as by Slurm and by Open MPI, through the scripts that a person calls.

The schedulers are stand-ins in the PATH which start local processes with the variables that the real ones set.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from detrove.cli import main

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'

# Starts `variables(rank)` times ntasks what follows its options, and ends with the first failure.
START = """
import os, subprocess, sys

def start(command, ntasks, variables):
    ranks = [subprocess.Popen(command, env={**os.environ, **variables(rank)}) for rank in range(ntasks)]
    sys.exit(next((code for code in [rank.wait() for rank in ranks] if code), 0))
"""
SRUN = START + """
words, options = sys.argv[1:], {}
while words[0].startswith('-'):
    name, _, value = words.pop(0).lstrip('-').partition('=')
    options[name] = value or words.pop(0)
with open(os.environ['SRUN_LOG'], 'w') as log:
    print(options, file=log)
ntasks = int(options['ntasks'])
start(words, ntasks, lambda rank: dict(
    SLURM_JOB_ID=os.environ.get('SLURM_JOB_ID', os.environ['NEXT_JOB_ID']), SLURM_STEP_ID='0',
    SLURM_NTASKS=str(ntasks), SLURM_NPROCS=str(ntasks), SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank),
    SLURM_NODEID='0', SLURM_NNODES='1', SLURM_NODELIST='cpu[01]', SLURM_STEP_NODELIST='cpu[01]',
    SLURM_JOB_NODELIST='cpu[01]', SLURM_TASKS_PER_NODE=str(ntasks)))
"""
# The real one copies the script away, returns at once and runs it later; this one runs it first.
SBATCH = """
import os, shutil, subprocess, sys
job = os.environ['NEXT_JOB_ID']
script = shutil.copy(sys.argv[1], os.environ['SPOOL'] + '/slurm_script')
variables = dict(SLURM_JOB_ID=job, SLURM_JOB_NAME='job', SLURM_SUBMIT_DIR=os.getcwd(), SLURM_NODELIST='cpu[01]',
                 SLURM_PROCID='0', SLURM_LOCALID='0', SLURM_NNODES='1')
with open(f'slurm-{job}.out', 'w') as out:
    code = subprocess.run(['bash', script], env={**os.environ, **variables}, stdout=out, stderr=out).returncode
print(f'Submitted batch job {job}')
sys.exit(code)
"""
SCONTROL = """
import sys
assert sys.argv[1:] == ['show', 'hostnames', 'cpu[01]'], sys.argv
print('localhost')
"""
MPIRUN = START + """
assert sys.argv[1] == '-np'
start(sys.argv[3:], int(sys.argv[2]), lambda rank: dict(
    OMPI_COMM_WORLD_SIZE=sys.argv[2], OMPI_COMM_WORLD_RANK=str(rank), OMPI_COMM_WORLD_LOCAL_SIZE=sys.argv[2],
    OMPI_COMM_WORLD_LOCAL_RANK=str(rank), OMPI_COMM_WORLD_NODE_RANK=str(rank), PMIX_RANK=str(rank)))
"""


def free_port():
    """A port of the range into which job numbers are mapped."""
    for port in range(20000 + os.getpid() % 9000, 30000):
        with socket.socket() as candidate:
            try:
                candidate.bind(('localhost', port))
            except OSError:
                continue
            return port
    raise RuntimeError('no free port between 20000 and 29999')


@pytest.fixture
def schedule(tmp_path, monkeypatch):
    """Runs a command where srun, sbatch, scontrol and mpirun are the stand-ins; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, code in dict(srun=SRUN, sbatch=SBATCH, scontrol=SCONTROL, mpirun=MPIRUN).items():
        (folder / name).write_text(f'#!{sys.executable} -IS\n{code}')
        (folder / name).chmod(0o755)
    set_by_launchers = re.compile('(SLURM|OMPI|MASTER|PMIX)_.*|WORLD_SIZE|RANK|LOCAL_RANK')
    environment = {name: value for name, value in os.environ.items() if not set_by_launchers.fullmatch(name)}
    environment |= dict(
        PATH=f'{folder}{os.pathsep}{os.environ["PATH"]}', PYTHON=sys.executable, PYTHONPATH=str(ROOT),
        OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', GPUS='2', GPUS_PER_NODE='2', CPUS_PER_TASK='1',
        SRUN_LOG=str(tmp_path / 'srun'), SPOOL=str(folder),
    )  # fmt: skip

    def run(*command, expect=0, **variables):
        result = subprocess.run(
            [str(word) for word in command],
            env={**environment, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        logs = ''.join(path.read_text() for path in tmp_path.glob('slurm-*.out'))
        assert result.returncode == expect, result.stdout + result.stderr + logs
        return result.stdout + result.stderr

    return run


@pytest.mark.slow
def test_slurm_train(schedule, detection_config, tmp_path):
    job = 7_700_000_000 + free_port() - 20000
    schedule(TOOLS / 'slurm_train.sh', 'cpus', 'tiny', detection_config(), 'work', '--cfg-options',
             'randomness.seed=1', NEXT_JOB_ID=str(job), SRUN_ARGS='--qos=low')  # fmt: skip
    (log,) = (tmp_path / 'work').glob('*/*.log')
    text = log.read_text()
    assert 'GPU number: 2' in text
    assert 'Epoch(train) [1][1/1]' in text  # four images, two processes, two images each
    assert 'bbox evaluation (faster_coco_eval, 4 images)' in text
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()
    options = dict(re.findall(r"'([\w-]+)': '([^']*)'", (tmp_path / 'srun').read_text()))
    assert options == {'p': 'cpus', 'job-name': 'tiny', 'gres': 'gpu:2', 'ntasks': '2', 'ntasks-per-node': '2',
                       'cpus-per-task': '1', 'kill-on-bad-exit': '1', 'qos': 'low'}  # fmt: skip


@pytest.mark.slow
def test_slurm_test_in_a_batch_job(schedule, trained, tmp_path):
    config, checkpoint = trained
    job = str(free_port() - 20000)
    command = [TOOLS / 'slurm_test.sh', 'cpus', 'tiny', config, checkpoint, '--work-dir', 'work', '--out', 'found.json']
    (tmp_path / 'job.sh').write_text('#!/bin/bash\n' + shlex.join(map(str, command)) + '\n')
    schedule('sbatch', 'job.sh', NEXT_JOB_ID=job, GPUS='1')
    printed = (tmp_path / f'slurm-{job}.out').read_text()
    assert 'bbox evaluation (faster_coco_eval, 4 images)' in printed
    assert set(re.findall(r'"image_id": (\d)', (tmp_path / 'found.json').read_text())) == {'1', '2', '3', '4'}


@pytest.mark.slow
def test_mpi(schedule, trained):
    config, checkpoint = trained
    printed = schedule('mpirun', '-np', '2', sys.executable, TOOLS / 'test.py', config, checkpoint, '--launcher', 'mpi',
                       '--work-dir', 'work', MASTER_PORT=str(free_port()))  # fmt: skip
    assert 'GPU number: 2' in printed
    assert printed.count('bbox evaluation (faster_coco_eval, 4 images)') == 1  # gathered, and shown once


def test_an_error_names_the_rank(monkeypatch, capsys):
    for name, value in dict(SLURM_NTASKS='2', SLURM_PROCID='1', SLURM_LOCALID='1', MASTER_ADDR='here').items():
        monkeypatch.setenv(name, value)
    for name in ('WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, '')  # so that it is taken back
    assert main(['train', 'gone.py', '--launcher', 'slurm']) == 1
    assert capsys.readouterr().err.startswith('[rank 1] error: config gone.py not found')


@pytest.mark.parametrize(
    ('script', 'arguments', 'expected'),
    [
        ('dist_train.sh', 'c.py 3 --amp', '--nproc_per_node=3 --master_port=4000 {}/train.py c.py --amp'),
        ('dist_test.sh', 'c.py x.pth 3 --tta', '--nproc_per_node=3 --master_port=4000 {}/test.py c.py x.pth --tta'),
    ],
)
def test_torchrun_scripts(schedule, script, arguments, expected):
    printed = schedule(TOOLS / script, *arguments.split(), PYTHON='echo', PORT='4000', NNODES='2', NODE_RANK='1')
    assert printed.startswith('-m torch.distributed.run --nnodes=2 --node_rank=1 --master_addr=127.0.0.1 ')
    assert expected.format(TOOLS) in printed
    assert printed.endswith(' --launcher pytorch\n')


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_usage(schedule, script):
    assert 'usage: ' in schedule(TOOLS / script, 'c.py', expect=2)
