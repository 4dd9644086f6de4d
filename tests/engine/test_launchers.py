"""What each launcher's variables become, and what is said where they are missing."""

import os

import pytest

from detrove.engine.launchers import export_ranks

OURS = ('WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
SLURM = dict(SLURM_NTASKS='16', SLURM_PROCID='11', SLURM_LOCALID='3', SLURM_JOB_ID='1234567')
MPI = dict(
    OMPI_COMM_WORLD_SIZE='4',
    OMPI_COMM_WORLD_RANK='3',
    OMPI_COMM_WORLD_LOCAL_RANK='3',
    OMPI_COMM_WORLD_LOCAL_SIZE='4',
)


@pytest.fixture
def started_by(monkeypatch, tmp_path):
    """Makes the environment that a launcher leaves; `scontrol` is a script that prints its last argument's parts."""
    for name in [*os.environ]:
        if name in OURS or name.startswith(('SLURM_', 'OMPI_')):
            monkeypatch.delenv(name)
    for name in OURS:  # so that what export_ranks sets is taken back
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    script = tmp_path / 'scontrol'
    script.write_text('#!/bin/sh\n[ "$1 $2" = "show hostnames" ] || exit 1\necho "$3" | tr "," "\\n"\n')
    script.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)

    def start(variables, **further):
        for name, value in {**variables, **further}.items():
            monkeypatch.setenv(name, value)
        return script

    return start


def exported():
    return [os.environ.get(name) for name in OURS]


def test_slurm(started_by):
    started_by(SLURM, SLURM_NODELIST='node07,node08')
    export_ranks('slurm')
    assert exported() == ['16', '11', '3', 'node07', '24567']


def test_slurm_step_on_some_machines_of_its_job(started_by):
    started_by(SLURM, SLURM_NODELIST='node07,node08', SLURM_STEP_NODELIST='node08')
    export_ranks('slurm')
    assert os.environ['MASTER_ADDR'] == 'node08'


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_an_address_and_port_of_ones_own(started_by, launcher):
    started_by({**SLURM, **MPI}, MASTER_ADDR='head', MASTER_PORT='4000').unlink()
    export_ranks(launcher)
    assert exported()[3:] == ['head', '4000']
    export_ranks(launcher, port=5000)
    assert exported()[3:] == ['head', '5000']


def test_slurm_without_scontrol(started_by, monkeypatch):
    started_by(SLURM, SLURM_NODELIST='node[07-08]').unlink()
    monkeypatch.setenv('PATH', '/nowhere')
    with pytest.raises(ValueError, match=r'scontrol show hostnames node\[07-08\]` failed .*Set MASTER_ADDR'):
        export_ranks('slurm')


def test_slurm_whose_scontrol_names_nothing(started_by):
    started_by(SLURM, SLURM_NODELIST='')
    with pytest.raises(ValueError, match='named no machine. Set MASTER_ADDR'):
        export_ranks('slurm')


def test_mpi(started_by):
    started_by(MPI)
    export_ranks('mpi')
    assert exported() == ['4', '3', '3', '127.0.0.1', '29500']


def test_mpi_on_two_machines_needs_the_address(started_by):
    started_by(MPI, OMPI_COMM_WORLD_LOCAL_SIZE='2')
    with pytest.raises(ValueError, match='2 of 4 processes run on this machine.*mpirun -x MASTER_ADDR'):
        export_ranks('mpi')


def test_torchrun_has_set_all(started_by):
    variables = dict(zip(OURS, ('2', '1', '1', 'host', '4000'), strict=True))
    started_by({**SLURM, **variables})  # inside a Slurm job
    export_ranks('pytorch')
    assert exported() == [*variables.values()]


@pytest.mark.parametrize(
    ('launcher', 'missing', 'way_out'),
    [
        ('slurm', 'SLURM_NTASKS, SLURM_PROCID, SLURM_LOCALID', 'tools/slurm_train.sh'),
        ('mpi', 'OMPI_COMM_WORLD_SIZE', 'mpirun'),
        ('pytorch', 'WORLD_SIZE, RANK', 'torchrun'),
    ],
)
def test_started_otherwise(started_by, launcher, missing, way_out):
    started_by({})
    with pytest.raises(ValueError, match=f'(?s)--launcher {launcher}: {missing}.*{way_out}'):
        export_ranks(launcher)


def test_alone(started_by):
    started_by(SLURM)
    export_ranks('none')
    assert exported() == [None] * 5
