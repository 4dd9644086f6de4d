"""Whether Triton kernels can run here."""

import importlib.util
import os
import shutil
from functools import cache

import torch

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def triton_refusal(value: torch.Tensor) -> str | None:
    """Why the project's kernels in Triton do not serve a tensor, or None where they do.

    They need a CUDA device, sum in fp32, and add gradients up atomically, so that they stand back where torch is asked
    for deterministic algorithms.
    """
    if value.device.type != 'cuda':
        return f'device {value.device.type}'
    if value.dtype not in DTYPES:
        return f'dtype {value.dtype}'
    if torch.are_deterministic_algorithms_enabled():
        return 'its gradients are not deterministic'
    return triton_obstacle()


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
