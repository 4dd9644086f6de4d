"""How a batch travels from a data loading process to the training process: in one piece of shared memory.

torch sends every tensor of a batch by a file descriptor and a connection of its own, which the training process
has to make one after another, for three or more tensors an image.
"""

import pickle
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate
from math import ceil

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from torch.utils.data import get_worker_info

_ALIGNMENT = 64  # bytes, what torch aligns its own tensors to


@FUNCTIONS.register_module()
def one_piece_collate(data_batch: Sequence):
    """mmengine's `pseudo_collate`; what a worker process returns crosses to the training process in one piece.

    Args:
        data_batch: One dict (or tuple, ...) per image, as the dataset's pipeline returns them.

    Returns:
        The same nesting with a list of the images' values at each leaf. In a worker an object that turns into
        it when it is unpickled.
    """
    batch = pseudo_collate(data_batch)
    return batch if get_worker_info() is None else _Parcel(batch)


class _Parcel:
    def __init__(self, batch):
        self.batch = batch

    def __reduce__(self):
        buffers: list[memoryview] = []
        body = BytesIO()
        _Pickler(body, protocol=5, buffer_callback=lambda buffer: buffers.append(buffer.raw())).dump(self.batch)
        ends = list(accumulate(_ALIGNMENT * ceil(buffer.nbytes / _ALIGNMENT) for buffer in buffers))
        spans = [(start, start + buffer.nbytes) for start, buffer in zip([0, *ends], buffers, strict=False)]
        memory = torch.empty(ends[-1] if ends else 0, dtype=torch.uint8).share_memory_()
        view = memoryview(memory.numpy())
        for (start, end), buffer in zip(spans, buffers, strict=True):
            view[start:end] = buffer
        return _unpack, (body.getvalue(), memory, spans)


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays, whose bytes stay out of the stream."""

    def reducer_override(self, obj):
        if type(obj) is not torch.Tensor or obj.requires_grad or not obj.numel():
            return NotImplemented
        try:
            return torch.from_numpy, (obj.numpy(),)
        except TypeError:  # a number type that numpy lacks, another device or layout: torch's own way
            return NotImplemented


def _unpack(body: bytes, memory: torch.Tensor, spans: list[tuple[int, int]]):
    array = memory.numpy()  # its slices keep the shared memory alive
    return pickle.loads(body, buffers=[array[start:end] for start, end in spans])
