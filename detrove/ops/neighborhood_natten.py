"""NATTEN's kernels for neighborhood attention, where they apply: on CUDA, in half precision, without bias.

`natten.functional.na2d(query, key, value, kernel_size=, dilation=, scale=)` on (B, H, W, heads, head_dim) means the
same from 0.17 to 0.21. The bias that NAT and DiNAT are trained with is not used: NATTEN dropped it in 0.20.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module, metadata

import torch

FIRST, FIRST_UNTRIED = (0, 17), (0, 22)
_allowed = True


def allow_natten(allowed: bool) -> None:
    """Whether `neighborhood_attention` may call NATTEN in this process; it may from the start."""
    global _allowed
    _allowed = allowed


def natten_status() -> str:
    """What NATTEN is used for in this process, or why it is not, in a few words."""
    if not _allowed:
        return 'NATTEN switched off'
    na2d, reason = _find_na2d()
    return reason if na2d is None else f'NATTEN {reason} for half precision on CUDA without bias'


def natten_refusal(
    query: torch.Tensor, value: torch.Tensor, kernel_hw: tuple[int, int], bias: torch.Tensor | None
) -> str | None:
    """Why NATTEN does not serve this call, or None where it does."""
    if not _allowed:
        return 'NATTEN is switched off'
    if bias is not None:
        return 'a relative position bias'
    if not query.is_cuda:
        return f'device {query.device.type}'
    if query.dtype not in (torch.float16, torch.bfloat16):
        return f'dtype {query.dtype}'
    if torch.compiler.is_compiling():
        return 'torch.compile would break the graph'
    if torch.are_deterministic_algorithms_enabled():
        return 'its gradients are not deterministic'
    if query.shape[-1] % 8 or value.shape[-1] != query.shape[-1]:
        return f'head sizes {query.shape[-1]} and {value.shape[-1]}'
    if min(kernel_hw) < 2:
        return f'kernel size {kernel_hw}'
    na2d, reason = _find_na2d()
    return reason if na2d is None else None


def natten_attention(query, key, value, kernel_hw, dilation_hw, scale):
    """`neighborhood_attention` by NATTEN; only where `natten_refusal` is None."""
    na2d, _ = _find_na2d()
    return na2d(query, key, value, kernel_size=kernel_hw, dilation=dilation_hw, scale=scale)


@lru_cache(maxsize=1)
def _find_na2d() -> tuple[Callable | None, str]:
    """NATTEN's function and version, or None and the reason."""
    try:
        version = metadata.version('natten')
    except metadata.PackageNotFoundError:
        return None, 'NATTEN not installed'
    if not FIRST <= tuple(int(part) for part in version.split('.')[:2]) < FIRST_UNTRIED:
        return None, f'NATTEN {version} not used (0.17 to 0.21 are known)'
    try:
        natten = import_module('natten')
        na2d = import_module('natten.functional').na2d
        # 0.20 brought the name; before, a function asked the library.
        has_kernels = natten.HAS_LIBNATTEN if hasattr(natten, 'HAS_LIBNATTEN') else natten.has_cuda()
    except Exception as error:  # a compiled package that does not fit torch fails in every way
        return None, f'NATTEN {version} fails to load ({type(error).__name__})'
    return (na2d, version) if has_kernels else (None, f'NATTEN {version} has no CUDA kernels')
