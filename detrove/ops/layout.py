"""How maps lie in memory: channels first (B, C, H, W), or channels last, as (B, H, W, C) with dimensions exchanged."""

import torch
from torch import Tensor


def is_channels_last(maps: Tensor) -> bool:
    """Whether maps (B, C, H, W) lie channels last; not where they lie both ways, as with one channel or one pixel."""
    return maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


def as_it_lies(maps: Tensor, like: Tensor) -> Tensor:
    """maps (B, C, H, W) in the layout of `like`, copied if need be."""
    if is_channels_last(like):
        return channels_last(maps)
    return maps.contiguous()


def channels_last(maps: Tensor) -> Tensor:
    """maps (B, C, H, W), channels last, with the strides that this implies for the batch too.

    A batch of one may have any stride, as tokens made into maps do. torch then takes channels last for channels first:
    convolutions give such maps, and batch norm (2.15, on the CPU) even misreads values.
    """
    batch, channels, height, width = maps.shape
    pixels = maps.permute(0, 2, 3, 1).reshape(batch * height * width, channels).contiguous()
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)


def channels_first(maps: Tensor) -> Tensor:
    """`maps.contiguous()`; torch copies transposed matrices, image by image, two to three times faster than maps."""
    if not is_channels_last(maps):
        return maps.contiguous()
    found = torch.empty_like(maps, memory_format=torch.contiguous_format)
    for image, source in zip(found.flatten(2), maps.permute(0, 2, 3, 1).flatten(1, 2), strict=True):
        image.copy_(source.t())
    return found
