"""Whether Triton kernels can run here."""

import importlib.util
import os
import shutil
from functools import cache

import torch


def can_run_triton(device: torch.device) -> bool:
    """Whether kernels in Triton run on `device`: a CUDA device, Triton installed and able to build its launcher."""
    return device.type == 'cuda' and triton_obstacle() is None


@torch.compiler.assume_constant_result
@cache
def triton_obstacle() -> str | None:
    """Why Triton kernels cannot be used on any GPU, with the way out; None if nothing stands against it.

    The environment variable DETROVE_TRITON=0 switches them off.
    """
    if os.environ.get('DETROVE_TRITON') == '0':
        return 'switched off by DETROVE_TRITON=0'
    if importlib.util.find_spec('triton') is None:
        return 'triton is not installed: pip install triton (Linux)'
    if not os.environ.get('CC') and not any(map(shutil.which, ('cc', 'gcc', 'clang'))):
        return 'triton finds no C compiler for its launcher: install gcc, or set CC'
    return None
