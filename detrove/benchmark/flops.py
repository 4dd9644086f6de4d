"""Counting operations, also those of operators that PyTorch's counter does not know."""

from collections.abc import Callable
from math import prod

import torch
import torchvision  # noqa: F401  registers deform_conv2d
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

import detrove.ops  # noqa: F401  registers the operators counted below


@register_flop_formula(torch.ops.detrove.ms_deform_attn)
def _sampling_flops(value_shape, shapes, num_points, locations_shape, *_, out_shape=None, **__) -> int:
    """Each sample of a head's channels is a weighted sum of four cells (of one in the discrete form, counted alike)."""
    batch, num_queries, num_heads, num_samples, _ = locations_shape
    return 2 * 4 * batch * num_queries * num_heads * num_samples * value_shape[-1]


@register_flop_formula(torch.ops.aten.grid_sampler_2d)
def _grid_sampler_flops(input_shape, grid_shape, *_, out_shape=None, **__) -> int:
    """As above, so that deformable attention counts the same in either form."""
    return 2 * 4 * input_shape[1] * prod(grid_shape[:-1])


@register_flop_formula(torch.ops.detrove.neighborhood_attention)
def _neighborhood_flops(query_shape, key_shape, value_shape, bias_shape, kernel_hw, *_, out_shape=None, **__) -> int:
    """Products of each query with the keys of its window, and the weighted sum of their values."""
    batch, height, width, num_heads, head_dim = query_shape
    return 2 * batch * height * width * num_heads * kernel_hw[0] * kernel_hw[1] * (head_dim + value_shape[-1])


@register_flop_formula(torch.ops.torchvision.deform_conv2d)
def _deform_conv_flops(input_shape, weight_shape, *_, out_shape=None, **__) -> int:
    """The convolution; its samples are not counted."""
    batch, _, height, width = out_shape
    return 2 * batch * height * width * prod(weight_shape)


def count_flops(run: Callable[[], object]) -> int:
    """Floating point operations of what `run` does, additions and multiplications counted separately."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator for a whole encoder layer, which no counter knows
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops()
