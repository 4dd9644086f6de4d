"""Whether a model is being written to a file, and how its operators are to be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

SAMPLING_FORMS = ('gather', 'grid_sample')
_sampling: str | None = None  # a plain global: torch.compile reads it without a graph break


@contextmanager
def export_form(sampling: str = 'gather') -> Iterator[None]:
    """While this is entered, operators and layers take forms of plain operators, without caches and custom kernels.

    Results are the same up to rounding. Sizes may be symbols of `torch.export`.

    Args:
        sampling: bilinear samples by 'gather', which every runtime has, or by 'grid_sample'.

    Raises:
        ValueError: for another form.
    """
    global _sampling
    if sampling not in SAMPLING_FORMS:
        raise ValueError(f'sampling={sampling!r}, expected one of {SAMPLING_FORMS}.')
    before, _sampling = _sampling, sampling
    try:
        yield
    finally:
        _sampling = before


def is_exporting() -> bool:
    """Whether `export_form` is entered."""
    return _sampling is not None


def is_watched() -> bool:
    """Whether operators are recorded, by an exporter or a counter of operations, and should be the plain ones."""
    if torch.jit.is_tracing() or is_exporting():
        return True
    return not torch.compiler.is_compiling() and is_in_torch_dispatch_mode()  # a compiler traces in such a mode


def sampling_form() -> str | None:
    """The form of bilinear samples; None outside `export_form`."""
    return _sampling
