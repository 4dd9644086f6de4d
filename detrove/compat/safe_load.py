"""Lets ``torch.load(weights_only=True)`` read the checkpoints that mmengine writes, and mmengine read no others.

Beside tensors they hold the message hub's ``HistoryBuffer`` objects with NumPy arrays. mmengine's own list of
safe globals contains ``getattr``, which can reach any attribute of anything that is allowed; here it is bound
to the four methods that a pickled HistoryBuffer refers to. The official DETR code bases save the
``argparse.Namespace`` of their options beside the weights; it only holds what is in it.

mmengine itself, which loads the backbones of stock configs, opens a file that holds more than weights a second time
without that protection, and what it downloads without a look at its hash. Both go through ``detrove.checkpoints``.
"""

import functools

_STATISTICS = ('min', 'max', 'current', 'mean')


def after_import(checkpoint_module) -> None:
    """Called with ``mmengine.runner.checkpoint`` when it was loaded: torch is imported by then."""
    allow_mmengine_checkpoints()
    checkpoint_module._safe_torch_load = _load_local
    checkpoint_module.load_from_http = _load_from_http  # by which torchvision:// and its like go
    checkpoint_module.CheckpointLoader.register_scheme(('http://', 'https://'), _load_from_http, force=True)


def _load_local(file, map_location=None, weights_only=None):
    import torch

    from detrove.checkpoints.loading import load_file

    if isinstance(file, str):
        return load_file(file, map_location)
    return torch.load(file, map_location=map_location, weights_only=True)


def _load_from_http(filename, map_location=None, model_dir=None, progress=True):
    from detrove.checkpoints.download import fetch
    from detrove.checkpoints.loading import load_file

    return load_file(fetch(filename), map_location)


def allow_mmengine_checkpoints() -> None:
    """Mark what mmengine's checkpoints contain as safe for torch. Imports torch and mmengine.

    To be called before each load: onedl's mmengine takes these objects off torch's list after loads of its own.
    """
    from torch.serialization import add_safe_globals

    add_safe_globals(_safe_objects())


@functools.cache
def _safe_objects() -> list:
    from argparse import Namespace
    from pickle import UnpicklingError

    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    def history_buffer_method(owner, name):
        if owner is HistoryBuffer and name in _STATISTICS:
            return getattr(HistoryBuffer, name)
        raise UnpicklingError(
            f'the checkpoint asks for attribute {name!r} of {owner!r}; only the statistics of '
            f'HistoryBuffer ({", ".join(_STATISTICS)}) are read from checkpoints'
        )

    reconstruct, rebuild_scalar = np.ndarray(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    # NumPy 2 renamed numpy.core to numpy._core: files name the module of the NumPy that wrote them.
    multiarray = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in (reconstruct, rebuild_scalar)
        for core in ('core', '_core')
    ]
    dtype_classes = {
        type(np.dtype(name)) for name in ('bool', 'int32', 'int64', 'uint8', 'uint32', 'float32', 'float64')
    }
    return [
        Namespace,
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        slice,
        (history_buffer_method, 'builtins.getattr'),
        *multiarray,
        *dtype_classes,
    ]
