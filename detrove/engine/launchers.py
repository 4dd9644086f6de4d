"""What torch.distributed wants to know of the other processes, from the variables that each launcher sets."""

import datetime
import os
import subprocess
from collections.abc import Mapping

import torch

# torch.distributed's name -> the launcher's
_RANKS = {
    'slurm': dict(WORLD_SIZE='SLURM_NTASKS', RANK='SLURM_PROCID', LOCAL_RANK='SLURM_LOCALID'),
    'mpi': dict(
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE', RANK='OMPI_COMM_WORLD_RANK', LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK'
    ),
    'pytorch': dict(WORLD_SIZE='WORLD_SIZE', RANK='RANK'),
}
_HOW_TO_START = {
    'slurm': '`srun python tools/train.py CONFIG --launcher slurm`, or tools/slurm_train.sh',
    'mpi': "Open MPI's `mpirun -np N python tools/train.py CONFIG --launcher mpi`",
    'pytorch': '`torchrun --nproc_per_node N tools/train.py CONFIG --launcher pytorch`, or tools/dist_train.sh',
}
_DEFAULT_PORT = 29500  # torch.distributed's own


def export_ranks(launcher: str, *, port: int | None = None) -> None:
    """Set WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in the environment of this process.

    MASTER_ADDR and MASTER_PORT stay as they are where a person set them. Otherwise the first machine of the Slurm job
    is the master, with a port that follows from the job's number, so that two jobs on one machine do not meet; without
    Slurm it is this machine.

    Args:
        launcher: `pytorch`, `slurm` or `mpi`; nothing is done for `none`.
        port: Goes before MASTER_PORT.

    Raises:
        ValueError: The variables of that launcher are missing, or nothing says which of several machines is the master.
    """
    if launcher not in _RANKS:
        return
    missing = [theirs for theirs in _RANKS[launcher].values() if theirs not in os.environ]
    if missing:
        raise ValueError(
            f'--launcher {launcher}: {", ".join(missing)} not in the environment, so that this process was not started '
            f'by that launcher. Start it by {_HOW_TO_START[launcher]}; without --launcher it runs alone.'
        )
    for ours, theirs in _RANKS[launcher].items():
        os.environ[ours] = os.environ[theirs]
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _master_address(launcher)
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    elif 'MASTER_PORT' not in os.environ:
        job = os.environ.get('SLURM_JOB_ID') if launcher == 'slurm' else None
        os.environ['MASTER_PORT'] = str(_DEFAULT_PORT if job is None else 20000 + int(job) % 10000)


def join_processes_on_cpu(*, timeout: datetime.timedelta | None) -> None:
    """Join the processes that `export_ranks` found, through gloo; mmengine would select a CUDA device first."""
    torch.distributed.init_process_group('gloo', timeout=timeout)


def timeout_of(env_cfg: Mapping | None) -> datetime.timedelta | None:
    """How long processes wait for each other by `dist_cfg.timeout` of `env_cfg`; None for torch's own limit."""
    seconds = ((env_cfg or {}).get('dist_cfg') or {}).get('timeout')
    return None if seconds is None else datetime.timedelta(seconds=seconds)


def _master_address(launcher: str) -> str:
    if launcher == 'slurm':
        return _first_host(os.environ.get('SLURM_STEP_NODELIST') or os.environ.get('SLURM_NODELIST', ''))
    total = os.environ['WORLD_SIZE']
    here = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE', total) if launcher == 'mpi' else total
    if here != total:
        raise ValueError(
            f'--launcher mpi: {here} of {total} processes run on this machine, and MASTER_ADDR does not say where that '
            'of rank 0 runs. Pass its address: mpirun -x MASTER_ADDR=HOST ...'
        )
    return '127.0.0.1'


def _first_host(node_list: str) -> str:
    """The first name that a list such as `node[07-09],gpu1` stands for, which Slurm itself expands."""
    try:
        names = subprocess.run(
            ['scontrol', 'show', 'hostnames', node_list], capture_output=True, text=True, check=True
        ).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, 'stderr', None) or str(error)).strip()
        raise ValueError(
            f'--launcher slurm: `scontrol show hostnames {node_list}` failed ({detail}), and MASTER_ADDR does not say '
            'which machine runs rank 0. Set MASTER_ADDR to the name of the first machine of the job.'
        ) from error
    if not names:
        raise ValueError(
            f'--launcher slurm: `scontrol show hostnames {node_list}` named no machine. Set MASTER_ADDR to the name of '
            'the first machine of the job.'
        )
    return names[0]
