"""Several processes of one command on this machine, as torchrun starts them."""

import os
import sys
from collections.abc import Sequence

import torch

from detrove.checkout import checkout_path


def available_processes(count: int) -> int:
    """`count`, or the number of GPUs where there are fewer, which is said on stderr: each process needs its own."""
    gpus = torch.cuda.device_count()
    if not 0 < gpus < count:
        return count
    print(
        f'warning: --processes {count}, but this machine shows {gpus} GPU{"s" * (gpus > 1)}: {gpus} '
        f'process{"es" * (gpus > 1)} instead, and fewer images in a step. CUDA_VISIBLE_DEVICES= before the command '
        'trains on the CPU.',
        file=sys.stderr,
    )
    return gpus


def run_in_processes(command: str, words: Sequence[str], count: int) -> int:
    """Run a command of `detrove` in several processes that train or test together, and wait for them.

    Each gets a GPU of its own; without a GPU they share the cores, one thread each unless OMP_NUM_THREADS says more.

    Args:
        command: Name of the command, such as `train`.
        words: Its options; `--processes` and `--launcher` in them are overridden.
        count: Number of processes.

    Returns:
        The exit status: 0, or that of the process that failed first, 128 + N after signal N.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    # The processes find detrove as this one did, also in a clone that is not installed.
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [checkout_path(), os.environ.get('PYTHONPATH')]))
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    launcher = [f'--nproc-per-node={count}', '--standalone', '-m']
    last_ones_hold = ['--processes', '1', '--launcher', 'pytorch']
    try:
        run(get_args_parser().parse_args([*launcher, 'detrove', command, *words, *last_ones_hold]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(
            f'process {rank} of {count} ended with exit status {failure.exitcode}; what it said stands above',
            file=sys.stderr,
        )
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException as error:
        return 128 + error.sigval
    return 0
