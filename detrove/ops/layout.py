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
    return map_of_pixels(pixels_of(maps).contiguous(), maps)


def pixels_of(maps: Tensor) -> Tensor:
    """maps (B, C, H, W) -> (B * H * W, C), a view if they lie channels last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def map_of_pixels(pixels: Tensor, like: Tensor) -> Tensor:
    """(B * H * W, C) -> a view (B, C, H, W), channels last, of the size that `like` (B, ..., H, W) has."""
    return pixels.view(like.shape[0], *like.shape[2:], pixels.shape[1]).permute(0, 3, 1, 2)


def padded_maps(maps: Tensor, size_hw: tuple[int, int], top_left: tuple[int, int]) -> Tensor:
    """maps (B, H, W, C) inside zeros: (B, *size_hw, C), their first pixel at `top_left`."""
    batch, height, width, channels = maps.shape
    padded = maps.new_empty(batch, *size_hw, channels)
    top, left = top_left
    bottom, right = top + height, left + width
    padded[:, top:bottom, left:right] = maps
    for rim in (padded[:, :top], padded[:, bottom:], padded[:, :, :left], padded[:, :, right:]):
        rim.zero_()
    return padded
