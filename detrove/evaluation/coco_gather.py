"""Predictions of all ranks brought to the first one: as arrays, rank after rank, each image once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import distributed

from detrove.datasets.json_bytes import from_json, to_json

_groups: list = []


def gather_predictions(predictions: Sequence[dict]) -> list[dict] | None:
    """All ranks' predictions, as `compact_prediction` has them, on rank 0, and None on the others.

    Each image counts once: samplers repeat some so that every rank has as many. Ranks may have different numbers of
    images, and none. Nothing is pickled, and rank 0 holds each rank's arrays once.
    """
    group = _cpu_group()
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    mine = torch.from_numpy(_pack(predictions)) if rank else torch.empty(0, dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size)]
    distributed.all_gather(sizes, torch.tensor([len(mine)]), group=group)
    if rank:
        distributed.send(mine, 0, group=group)
        return None
    of_image = {prediction['img_id']: prediction for prediction in reversed(predictions)}
    for source in range(1, world_size):
        buffer = torch.empty(int(sizes[source]), dtype=torch.uint8)
        distributed.recv(buffer, source, group=group)
        for prediction in _unpack(buffer.numpy()):
            of_image.setdefault(prediction['img_id'], prediction)
    return list(of_image.values())


def _cpu_group():
    """The processes' group if it moves arrays of the CPU, else one that does."""
    if 'gloo' in distributed.get_backend():
        return None
    if not _groups:
        _groups.append(distributed.new_group(backend='gloo'))
    return _groups[0]


def _pack(predictions: Sequence[dict]) -> np.ndarray:
    """(bytes,) uint8: the length of the JSON part, the JSON part, the arrays."""
    arrays, rest = [], []
    for prediction in predictions:
        one = {}
        for name, value in prediction.items():
            if isinstance(value, np.ndarray):
                arrays.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
                value = dict(array=value.dtype.str, shape=value.shape)
            one[name] = value
        rest.append(one)
    text = np.frombuffer(to_json(rest), np.uint8)
    return np.concatenate([np.array([len(text)]).view(np.uint8), text, *arrays])


def _unpack(data: np.ndarray) -> list[dict]:
    """What was packed. Arrays are copied out, so that they are aligned and the buffer can go."""
    end = 8 + int(data[:8].view(np.int64)[0])
    predictions = from_json(data[8:end].tobytes())
    for prediction in predictions:
        for name, value in prediction.items():
            if isinstance(value, dict) and 'array' in value:
                dtype, shape = np.dtype(value['array']), value['shape']
                start, end = end, end + dtype.itemsize * int(np.prod(shape))
                prediction[name] = data[start:end].copy().view(dtype).reshape(shape)
    return predictions
