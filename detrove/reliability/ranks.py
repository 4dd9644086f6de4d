"""Processes that meet through torch.distributed, to see what they do together."""

import os
import runpy
import socket
import sys
import time
import traceback
from pathlib import Path

from .kill import clean_processes


def run_ranks(file: str, name: str, world_size: int, folder: Path, *, timeout_s: float,
              victim: int | None = None, once: str = '') -> list[int]:
    """Run the function `name(rank, folder)` of a Python file in processes of their own, with torchrun's variables.

    What a process prints goes to `folder/RANK.log`.

    Args:
        timeout_s: after which all are killed.
        victim: rank of a process that is killed as soon as rank 0 has printed `once`.

    Returns:
        Exit statuses by rank; -9 for a process that was killed.
    """
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    ranks = [clean_processes().Process(target=_run_rank, args=(file, name, rank, world_size, port, folder))
             for rank in range(world_size)]
    for process in ranks:
        process.start()
    end = time.monotonic() + timeout_s
    while any(process.is_alive() for process in ranks) and time.monotonic() < end:
        if victim is not None and once in log_of(folder, 0):
            ranks[victim].kill()
        time.sleep(0.1)
    for process in ranks:
        process.kill()
        process.join()
    return [process.exitcode for process in ranks]


def log_of(folder: Path, rank: int) -> str:
    log = folder / f'{rank}.log'
    return log.read_text() if log.exists() else ''


def _run_rank(file: str, name: str, rank: int, world_size: int, port: int, folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    os.chdir(folder)
    status = 70
    with open(folder / f'{rank}.log', 'a') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR='localhost',
                       MASTER_PORT=str(port))
    try:
        status = runpy.run_path(file)[name](rank, folder) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
