"""Weights and images that depend on nothing but their names and sizes.

Parity tests compare our models with outputs recorded from the official code. Both sides must hold the same
weights without storing tens of megabytes, so every entry of a state dict is drawn from a stream seeded by the
entry's own official name. The streams are ``numpy.random.RandomState.random_sample``: NumPy freezes the old
``RandomState`` (NEP 19) while ``Generator`` and torch may change their distributions between versions, and
uniform numbers need no ``log`` or ``sqrt`` of the platform, so the draws are the same everywhere.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

# Entries that a model computes from its settings (or only counts): filling them would break the model.
COMPUTED_ENTRIES = ('num_batches_tracked', 'num_points_scale', 'anchors', 'valid_mask')


def deterministic_state_dict(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Draw a healthy value for every learned entry of a state dict.

    The kind of an entry is decided by its name and shape alone; ``u`` is uniform with mean 0 and variance 1:

    - ``running_var``: uniform in [0.5, 1.5);
    - ``running_mean``, biases and other one-dimensional entries: 0.03 u;
    - one-dimensional ``weight`` (normalisation): 1 + 0.1 u;
    - ``sampling_offsets.bias``: 2 u; bias of a ``score_head``: 0.5 u - 4, so that few scores are high;
    - weight of an ``*embed*`` module (a table): u, the last row of a denoising table (its padding) zero;
    - other matrices: u * sqrt(gain / fan_in), see ``_matrix_gain``; kernels of convolutions have mean zero in
      every output channel.

    The gains balance two things. With larger ones the network amplifies rounding tenfold per decoder layer
    and two correct float32 programs differ visibly; with smaller ones all places of an image look alike.

    Args:
        shapes: Official entry name to shape. Entries named in ``COMPUTED_ENTRIES`` are left out.

    Returns:
        Name to float32 CPU tensor, in the order of ``shapes``.

    Raises:
        ValueError: If an entry is a scalar that is not a computed entry.
    """
    return {
        name: torch.from_numpy(_draw_entry(name, tuple(shape)))
        for name, shape in shapes.items()
        if name.rpartition('.')[2] not in COMPUTED_ENTRIES
    }


def deterministic_images(batch_size: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Draw images with structure at several scales: blocks of 64, 16 and 4 pixels plus pixel noise.

    Args:
        batch_size: Number of images.
        height: Height in pixels, any positive number.
        width: Width in pixels, any positive number.
        seed: Another seed gives other images.

    Returns:
        Float32 tensor ``(batch_size, 3, height, width)`` of multiples of 1/255 in [0, 1], as a decoded 8-bit
        image divided by 255 would be.
    """
    random = np.random.RandomState(seed)
    image = np.zeros((batch_size, 3, height, width))
    for block_size, weight in ((64, 0.4), (16, 0.3), (4, 0.2), (1, 0.1)):
        rows, columns = -(-height // block_size), -(-width // block_size)
        blocks = random.random_sample((batch_size, 3, rows, columns))
        pixels = blocks.repeat(block_size, axis=2).repeat(block_size, axis=3)
        image += weight * pixels[:, :, :height, :width]
    return torch.from_numpy(np.round(image * 255).astype(np.float32)) / 255


def _draw_entry(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if not shape:
        raise ValueError(f'{name!r} is a scalar: expected an array or a computed entry {COMPUTED_ENTRIES}')
    unit = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    if name.endswith('running_var'):
        return (0.5 + unit).astype(np.float32)
    unit = (unit - 0.5) * 12**0.5
    if len(shape) > 1:
        value = _matrix_entry(name, unit)
    elif name.endswith('.weight'):
        value = 1 + 0.1 * unit
    elif name.endswith('sampling_offsets.bias'):
        value = 2 * unit
    elif 'score_head' in name:
        value = 0.5 * unit - 4
    else:
        value = 0.03 * unit
    return value.astype(np.float32)


def _matrix_entry(name: str, unit: np.ndarray) -> np.ndarray:
    if 'embed' in name.split('.')[-2]:
        if 'denoising' in name:
            unit[-1] = 0
        return unit
    if unit.ndim == 4:
        # Inputs behind ReLU are positive: without this their mean would drown the differences between places.
        unit = unit - unit.mean(axis=(1, 2, 3), keepdims=True)
    return unit * (_matrix_gain(name, unit.ndim) / np.prod(unit.shape[1:])) ** 0.5


def _matrix_gain(name: str, ndim: int) -> float:
    if 'score_head' in name:
        return 2.0
    if 'bbox_head' in name:
        return 0.5
    if ndim != 4:
        return 1.0
    # ReLU keeps half of the power and SiLU a third; the residual sums of a backbone make up for a part of it.
    return 1.25 if name.startswith('backbone.') else 1.8
