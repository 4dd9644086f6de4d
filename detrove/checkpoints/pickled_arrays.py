"""Reading detectron2's .pkl files: pickles of dicts of numpy arrays, which may hold nothing else."""

import pickle
from pathlib import Path

import numpy as np
import torch

from .restricted_pickle import RestrictedUnpickler


def read_pickled_arrays(path: str | Path, *, allow_unsafe: bool = False) -> dict:
    """The content of a .pkl file, arrays as tensors.

    Args:
        path: the file.
        allow_unsafe: also read what runs code when opened.

    Raises:
        pickle.UnpicklingError: without `allow_unsafe`, if the file holds anything but dicts, lists, numbers, text and
            numpy arrays.
    """
    with open(path, 'rb') as file:
        unpickler = pickle.Unpickler if allow_unsafe else RestrictedUnpickler
        return _as_tensors(unpickler(file, encoding='latin1').load())  # as detectron2 opens them


def _as_tensors(value):
    if isinstance(value, dict):
        return {key: _as_tensors(item) for key, item in value.items()}
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
