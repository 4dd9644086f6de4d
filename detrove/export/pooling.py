"""Adaptive average pooling of maps whose size is open."""

import torch
from torch import Tensor, nn


class PoolByProducts(nn.Module):
    """`nn.AdaptiveAvgPool2d`, by a product with a matrix for each side.

    Exporters write the borders of the cells down as the numbers that they are for one size; here they are computed of
    the map's sides.

    Args:
        output_size: (rows, columns); None for as many as the map has.
    """

    def __init__(self, output_size: tuple[int | None, int | None]):
        super().__init__()
        self.output_size = output_size

    def forward(self, maps: Tensor) -> Tensor:
        """maps (B, C, H, W) -> (B, C, rows, columns)."""
        rows, columns = self.output_size
        if rows is not None:
            maps = _shares(rows, maps.shape[2], maps) @ maps
        return maps if columns is None else maps @ _shares(columns, maps.shape[3], maps).T


def _shares(cells: int, size: int, like: Tensor) -> Tensor:
    """(cells, size): how much of each cell's average comes from each row (or column) of a map."""
    cell, place = torch.arange(cells, device=like.device)[:, None], torch.arange(size, device=like.device)
    inside = (place >= cell * size // cells) & (place * cells < (cell + 1) * size)  # up to the next whole border
    inside = inside.to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def pool_by_products(module: nn.Module) -> None:
    """Replace all adaptive average pooling inside a module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size
                setattr(parent, name, PoolByProducts(tuple(size) if isinstance(size, tuple | list) else (size, size)))
