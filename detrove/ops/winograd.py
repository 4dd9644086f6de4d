"""3x3 convolutions of stride 1 on CPUs with a quarter of the multiplications: Winograd's F(4x4, 3x3).

A tile of 4x4 outputs takes 36 products for each pair of channels where the sum that defines it takes 144; those of all
tiles are 36 products of matrices. PyTorch's CPU backend does not do it. Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks" (2016); the points are chosen for precision, as Barabasz et al., "Error Analysis and
Improving the Accuracy of Winograd Convolution" (2020), suggest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .layout import as_it_lies, is_channels_last, padded_maps

_KERNEL, _STEP = 3, 4  # outputs of a tile per axis
_TILE = _STEP + _KERNEL - 1  # inputs of it
_PRODUCTS = _TILE**2
# Polynomials are evaluated here and at infinity. The usual whole numbers (1, -1, 2, -2) lose twice the precision:
# outputs of deviation 1 have errors of 1.2e-6 with these, 2.4e-6 with those, 0.8e-6 in PyTorch's sums (256 channels).
_POINTS = (0.0, sqrt(0.5), -sqrt(0.5), sqrt(2), -sqrt(2))
_CHUNK = 2**20  # numbers of a transformed chunk of tiles, which so stay in the caches
_OUTPUTS_AT_ONCE = 64  # at least, where kernels are transformed in blocks


class _Transforms(NamedTuple):
    """Matrices of one axis: of inputs (6, 6), of weights (6, 3), of products (4, 6)."""

    inputs: Tensor
    weights: Tensor
    products: Tensor


@cache
def _transforms() -> _Transforms:
    """The transpose of Toom and Cook's polynomial product: outputs = A^T ((G weights) * (B^T inputs)) on each axis."""
    with torch.inference_mode(False):  # kept for training too
        axes = torch.linalg.inv(_powers(_TILE)).T, _powers(_KERNEL), _powers(_STEP).T
        return _Transforms(*(axis.contiguous().float() for axis in axes))


def _on_both_axes(matrix: Tensor, tiles: Tensor, between: Tensor, result: Tensor) -> Tensor:
    """matrix (q, p) on rows and columns of tiles (p, p, ...): (q^2, ...); with two workspaces, see `_part`."""
    after, before = matrix.shape
    rows = torch.mm(matrix, tiles.view(before, -1), out=_part(between, (after, tiles.numel() // before)))
    shape = after, before, rows.shape[1] // before
    columns = torch.bmm(matrix.expand(after, -1, -1), rows.view(shape), out=_part(result, (after, after, shape[2])))
    return columns.flatten(0, 1)


def _powers(count: int) -> Tensor:
    """(points and infinity, count): 1, p, p^2, ..."""
    at_infinity = [0.0] * (count - 1) + [1.0]
    return torch.tensor([[point**power for power in range(count)] for point in _POINTS] + [at_infinity],
                        dtype=torch.float64, device='cpu')


def transform_weight(weight: Tensor) -> Tensor:
    """weight (O, C, 3, 3) -> (36, O, C), which `winograd_conv2d` takes in its place where it serves many images."""
    sizes = _KERNEL**2, _TILE * _KERNEL, _PRODUCTS
    return _transformed_weight(weight, [weight.new_empty(size * weight.shape[:2].numel()) for size in sizes])


def _transformed_weight(weight: Tensor, spaces: Sequence[Tensor]) -> Tensor:
    """`transform_weight` with three workspaces, the last of them for the result."""
    kernels = weight.permute(2, 3, 0, 1)
    gathered = _part(spaces[0], kernels.shape).copy_(kernels)
    return _on_both_axes(_transforms().weights, gathered, spaces[1], spaces[2]).view(_PRODUCTS, *weight.shape[:2])


def _weight_of(grad_kernels: Tensor, spaces: Sequence[Tensor]) -> Tensor:
    """The transpose of `transform_weight`: (36, O, C) -> (O, C, 3, 3); with two workspaces, the last for the result."""
    taps = _on_both_axes(_transforms().weights.t(), grad_kernels, *spaces)
    return taps.view(_KERNEL, _KERNEL, *grad_kernels.shape[1:]).permute(2, 3, 0, 1)


def count_tiles(x: Tensor) -> int:
    """How many tiles of 4x4 outputs maps (B, C, H, W) make: the work of which transforming weights is a part."""
    return x.shape[0] * _tiles_along(x.shape[2]) * _tiles_along(x.shape[3])


def _tiles_along(pixels: int) -> int:
    return -(-pixels // _STEP)


def winograd_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *,
                    transformed: Tensor | None = None) -> Tensor:
    """What `torch.nn.functional.conv2d(x, weight, bias, padding=1)` gives, in another order of sums.

    Args:
        x: (B, C, H, W), float32 on the CPU, best channels last; the output lies as it does.
        weight: (O, C, 3, 3).
        bias: (O,) or None.
        transformed: `transform_weight(weight)`, for inference alone.

    Returns:
        (B, O, H, W). Gradients of x, weight and bias are computed likewise, and have no further derivative.
    """
    if transformed is not None:
        return _forward(x, weight, bias, transformed)
    return _WinogradConv2d.apply(x, weight, bias)


@torch.library.custom_op('detrove::winograd_conv2d', mutates_args=())
def compiled_winograd_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, transformed: Tensor) -> Tensor:
    """`winograd_conv2d` for inference as one operator, which a compiler calls and does not look into."""
    return winograd_conv2d(x, weight, bias, transformed=transformed)


@compiled_winograd_conv2d.register_fake
def _(x, weight, bias, transformed):
    layout = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:])).to(memory_format=layout)


class _WinogradConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _forward(x, weight, bias).detach()  # no view, which could not be overwritten by an activation

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_x, grad_weight = _backward(x, weight, grad, needs_x, needs_weight)
        return grad_x, grad_weight, grad.sum((0, 2, 3)) if needs_bias else None


def _even_share(count: int, limit: int) -> int:
    """The size of the parts into which so many are split evenly, none larger than the limit."""
    return -(-count // -(-count // limit))


class _Grid:
    """The tiles of a batch of maps, in chunks.

    Args:
        size_of_maps: B, H, W.
        channels: C, O.
    """

    def __init__(self, size_of_maps: Sequence[int], channels: Sequence[int]):
        self.batch, self.height, self.width = size_of_maps
        self.rows, self.columns = _tiles_along(self.height), _tiles_along(self.width)
        self.channels = channels
        limit = max(1, _CHUNK // (_PRODUCTS * max(channels)))
        per_image = self.rows * self.columns
        if per_image > limit:  # parts of an image, of equal size
            self.images_at_once, self.rows_at_once = 1, _even_share(self.rows, max(1, limit // self.columns))
        else:
            self.images_at_once, self.rows_at_once = _even_share(self.batch, limit // per_image), self.rows

    @property
    def is_one_chunk(self) -> bool:
        return self.images_at_once == self.batch and self.rows_at_once == self.rows

    def chunks(self) -> Iterator[tuple[slice, slice]]:
        """Images and rows of tiles."""
        for image in range(0, self.batch, self.images_at_once):
            for row in range(0, self.rows, self.rows_at_once):
                yield (slice(image, min(image + self.images_at_once, self.batch)),
                       slice(row, min(row + self.rows_at_once, self.rows)))

    def blocks(self) -> Iterator[slice]:
        """Outputs whose transformed kernels fit into a workspace."""
        inputs, outputs = self.channels
        at_once = _even_share(outputs, self._size_of_workspace() // (_PRODUCTS * inputs))
        for first in range(0, outputs, at_once):
            yield slice(first, min(first + at_once, outputs))

    def _size_of_workspace(self) -> int:
        tiles = self.images_at_once * self.rows_at_once * self.columns
        return _PRODUCTS * max(tiles, _OUTPUTS_AT_ONCE) * max(self.channels)

    def workspaces(self, like: Tensor, count: int) -> Sequence[Tensor]:
        """Memory for a transformed chunk each, used again for every chunk: fresh memory takes longer than the sums.

        In one piece, which the C library rather keeps for the next convolution than gives back to the system.
        """
        return like.new_empty(count, self._size_of_workspace()).unbind()

    def size(self, border: int = 0) -> tuple[int, int]:
        """Height and width of maps of whole tiles, and of what those of their inputs overlap."""
        return _STEP * self.rows + border, _STEP * self.columns + border

    def padded(self, maps: Tensor, *, before: int, border: int) -> Tensor:
        """maps (B, C, H, W) with zeros around them: (B, *size(border), C)."""
        return padded_maps(maps.permute(0, 2, 3, 1), self.size(border), (before, before))

    def cropped(self, maps: Tensor, like: Tensor, *, before: int = 0) -> Tensor:
        """The other way: (B, ..., ..., C) -> (B, C, H, W), which lies in memory as `like` does."""
        cropped = maps[:, before:before + self.height, before:before + self.width].permute(0, 3, 1, 2)
        return as_it_lies(cropped, like)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, transformed: Tensor | None = None) -> Tensor:
    outputs, inputs = weight.shape[:2]
    grid = _Grid((x.shape[0], *x.shape[2:]), (inputs, outputs))
    kernels = _kernels_of_all(weight, grid) if transformed is None else transformed
    padded = grid.padded(x, before=1, border=_KERNEL - 1)
    out = x.new_empty(grid.batch, *grid.size(), outputs)
    spaces = grid.workspaces(x, 4)
    for images, rows in grid.chunks():
        values = _transformed_inputs(padded, images, rows, grid.columns, spaces)
        for block, part in _blocks_of_kernels(weight, kernels, grid, spaces[1:]):
            products = torch.bmm(values, part.transpose(1, 2),
                                 out=_part(spaces[1], (*values.shape[:2], part.shape[1])))
            tiles = _on_both_axes(_transforms().products, products, spaces[2], spaces[3])
            target = _tiles_of(out, images, rows, grid.columns, (_STEP, _STEP))[..., block]
            tiles = tiles.view(target.shape)
            if bias is None:
                target.copy_(tiles)
            else:
                torch.add(tiles, bias[block], out=target)
    return grid.cropped(out, x)


def _kernels_of_all(weight: Tensor, grid: _Grid) -> Tensor | None:
    """(36, O, C), where they serve several chunks of tiles; None where each is used once, and made just then."""
    return None if grid.is_one_chunk else transform_weight(weight)


def _blocks_of_kernels(weight: Tensor, kernels: Tensor | None, grid: _Grid,
                       spaces: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """Outputs and their transformed kernels: all of `kernels`, or else block by block in the last of three spaces."""
    if kernels is not None:
        yield slice(0, len(weight)), kernels
        return
    for block in grid.blocks():
        yield block, _transformed_weight(weight[block], spaces)


def _backward(x: Tensor, weight: Tensor, grad: Tensor, needs_x: bool,
              needs_weight: bool) -> tuple[Tensor | None, Tensor | None]:
    grid = _Grid((x.shape[0], *x.shape[2:]), weight.shape[1::-1])
    grad_map = grid.padded(grad, before=0, border=0)
    spaces = grid.workspaces(x, 5)
    to_x = _GradOfInputs(x, weight, grid) if needs_x else None
    to_weight = _GradOfWeight(x, weight, grid) if needs_weight else None
    for images, rows in grid.chunks():
        source = _tiles_of(grad_map, images, rows, grid.columns, (_STEP, _STEP))
        gathered = _part(spaces[1], source.shape).copy_(source)
        grads = _on_both_axes(_transforms().products.t(), gathered, spaces[2], spaces[4])
        grads = grads.view(_PRODUCTS, -1, len(weight))
        for part in filter(None, (to_weight, to_x)):
            part.add(images, rows, grads, spaces[:4])
    return to_x and to_x.result(), to_weight and to_weight.result()


class _GradOfWeight:
    """Gradient of the kernels (O, C, 3, 3), chunk by chunk of tiles."""

    def __init__(self, x: Tensor, weight: Tensor, grid: _Grid):
        self.padded = grid.padded(x, before=1, border=_KERNEL - 1)
        self.weight, self.grid = weight, grid
        self.out = torch.empty_like(weight)  # lies as the weight does, which DDP expects
        self.sums = None

    def add(self, images: slice, rows: slice, grads: Tensor, spaces: Sequence[Tensor]) -> None:
        """grads (36, tiles, O), transformed."""
        values = _transformed_inputs(self.padded, images, rows, self.grid.columns, spaces)
        if not self.grid.is_one_chunk:
            factors = grads.transpose(1, 2), values
            self.sums = torch.bmm(*factors) if self.sums is None else self.sums.baddbmm_(*factors)
            return
        for block in self.grid.blocks():
            grad_kernels = torch.bmm(grads[..., block].transpose(1, 2), values, out=_part(
                spaces[1], (_PRODUCTS, block.stop - block.start, values.shape[2])))
            self.out[block] = _weight_of(grad_kernels, spaces[2:])

    def result(self) -> Tensor:
        if self.sums is None:
            return self.out
        count = self.weight.shape[:2].numel()
        spaces = [self.sums.new_empty(size * count) for size in (_TILE * _KERNEL, _KERNEL**2)]
        return self.out.copy_(_weight_of(self.sums, spaces))


class _GradOfInputs:
    """Gradient of the maps (B, C, H, W), chunk by chunk of tiles."""

    def __init__(self, x: Tensor, weight: Tensor, grid: _Grid):
        self.x, self.weight, self.grid = x, weight, grid
        self.kernels = _kernels_of_all(weight, grid)
        self.padded = x.new_zeros(grid.batch, *grid.size(_STEP), weight.shape[1])

    def add(self, images: slice, rows: slice, grads: Tensor, spaces: Sequence[Tensor]) -> None:
        """grads (36, tiles, O), transformed."""
        values = _part(spaces[0], (*grads.shape[:2], self.weight.shape[1]))
        for block, part in _blocks_of_kernels(self.weight, self.kernels, self.grid, spaces[1:]):
            values.baddbmm_(grads[..., block], part, beta=1 if block.start else 0)
        tiles = _on_both_axes(_transforms().inputs.t(), values, spaces[1], spaces[2])
        _add_tiles(self.padded, images, rows, self.grid.columns, tiles)

    def result(self) -> Tensor:
        return self.grid.cropped(self.padded, self.x, before=1)


def _transformed_inputs(padded: Tensor, images: slice, rows: slice, columns: int, spaces: Sequence[Tensor]) -> Tensor:
    """Overlapping tiles of 6x6 inputs, transformed: (36, tiles, C), in the first workspace; uses two more."""
    source = _tiles_of(padded, images, rows, columns, (_TILE, _TILE))
    gathered = _part(spaces[1], source.shape).copy_(source)
    return _on_both_axes(_transforms().inputs, gathered, spaces[2], spaces[0]).view(_PRODUCTS, -1, padded.shape[-1])


def _tiles_of(maps: Tensor, images: slice, rows: slice, columns: int, size_hw: tuple[int, int]) -> Tensor:
    """maps (B, H, W, C) -> a view (*size_hw, images, rows, columns, C) of the tiles that begin every four pixels."""
    image, row, pixel, channel = maps.stride()
    shape = *size_hw, images.stop - images.start, rows.stop - rows.start, columns, maps.shape[-1]
    start = maps.storage_offset() + images.start * image + rows.start * _STEP * row
    return maps.as_strided(shape, (row, pixel, image, _STEP * row, _STEP * pixel, channel), start)


def _add_tiles(maps: Tensor, images: slice, rows: slice, columns: int, tiles: Tensor) -> None:
    """Add overlapping tiles (36, tiles x C) to maps with a border of four, in four parts without overlap."""
    tiles = tiles.view(_TILE, _TILE, images.stop - images.start, rows.stop - rows.start, columns, maps.shape[-1])
    within, beyond = slice(0, _STEP), slice(_STEP, _TILE)
    for part_rows, lower in ((within, maps), (beyond, maps[:, _STEP:])):
        for part_columns, target in ((within, lower), (beyond, lower[:, :, _STEP:])):
            part = tiles[part_rows, part_columns]
            _tiles_of(target, images, rows, columns, part.shape[:2]).add_(part)


def _part(space: Tensor, shape: Sequence[int]) -> Tensor:
    """The beginning of a workspace as a tensor of this shape."""
    return space[:torch.Size(shape).numel()].view(shape)
