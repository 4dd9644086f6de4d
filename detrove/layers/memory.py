"""The feature levels of a batch as one sequence of tokens, which the encoder makes and the decoder reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from detrove.ops.export_form import is_exporting
from detrove.ops.layout import as_it_lies, channels_last, is_channels_last

SpatialShapes = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Memory:
    """Flattened feature levels, finest first.

    Attributes:
        tokens: (B, S, C), S the sum of h * w over levels, row by row.
        spatial_shapes: (h, w) of each of L levels.
        level_wh: (L, 2) float32 whatever the tokens' precision, width and height of each level.
        valid_wh: (B, L, 2) float32, columns and rows that belong to the image and not to its padding; None if no image
            is padded (or the model does not look at padding).
        padding: (B, S) bool, True where padded; None like valid_wh.
        position: (B or 1, S, C), embedding of the tokens' positions, for decoders that attend to all tokens; None where
            the encoder gives none.
        tokens_and_one: (B, S, C + 8), see `with_one`; None where nobody asked for it.
    """

    tokens: Tensor
    spatial_shapes: SpatialShapes
    level_wh: Tensor
    valid_wh: Tensor | None = None
    padding: Tensor | None = None
    position: Tensor | None = None
    tokens_and_one: Tensor | None = None

    @property
    def valid_ratios(self) -> Tensor | None:
        """(B, L, 2): share of each level's width and height that belongs to the image; None without padding."""
        return None if self.valid_wh is None else self.valid_wh / self.level_wh

    @property
    def finest_map(self) -> Tensor:
        """The first level as a map (B, C, h, w)."""
        height, width = self.spatial_shapes[0]
        return self.tokens[:, :height * width].transpose(1, 2).unflatten(2, (height, width))

    def with_tokens(self, tokens: Tensor) -> Memory:
        """The same levels with other tokens (B, S, C)."""
        return dataclasses.replace(self, tokens=tokens, tokens_and_one=None)

    def with_one(self) -> Memory:
        """With `tokens_and_one` (B, S, C + 8): the tokens, a one, which carries a projection's bias, and zeros.

        In the padding all are zero. Rows of whole vectors of eight numbers are read faster.
        """
        one = F.pad(self.tokens.new_ones(1, 1, 1), (0, 7))
        rows = torch.cat([self.tokens, one.expand(*self.tokens.shape[:2], -1)], -1)
        if self.padding is not None:
            rows = rows.masked_fill(self.padding[..., None], 0.0)
        return dataclasses.replace(self, tokens_and_one=rows)


def tokens_of_map(feat: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C), row by row."""
    if not torch.compiler.is_compiling() and feat.requires_grad and feat.device.type == 'cpu' and len(feat) == 1:
        # on the CPU torch 2.15's batch norm misreads the gradient of one image that has strides of tokens
        feat.register_hook(channels_last if is_channels_last(feat) else torch.Tensor.contiguous)
    return feat.flatten(2).transpose(1, 2)


def map_of_tokens(tokens: Tensor, like: Tensor) -> Tensor:
    """The other way: (B, h * w, C) -> (B, C, h, w), the shape of `like`, and in its layout."""
    feat = tokens.transpose(1, 2).reshape(like.shape)
    return feat if torch.compiler.is_compiling() or is_exporting() else as_it_lies(feat, like)


def flatten_levels(feats: Sequence[Tensor], image_sizes_hw: Sequence[tuple[int, int]] | None = None,
                   input_hw: tuple[int, int] | None = None) -> Memory:
    """Feature maps (B, C, h, w) -> `Memory`.

    Args:
        feats: the levels, finest first.
        image_sizes_hw: size of each image inside its padded input; None to take padding as image.
        input_hw: size of the padded input; needed with `image_sizes_hw`.
    """
    spatial_shapes = tuple(_size_hw(feat) for feat in feats)
    tokens = torch.cat([tokens_of_map(feat) for feat in feats], dim=1)
    level_wh = _level_wh(spatial_shapes, tokens.device)
    if image_sizes_hw is None or all(tuple(size) == tuple(input_hw) for size in image_sizes_hw):
        return Memory(tokens, spatial_shapes, level_wh)
    valid_wh = _valid_cells(image_sizes_hw, input_hw, spatial_shapes).to(tokens.device, non_blocking=True)
    cells, level = token_grid(spatial_shapes, tokens.device)
    padding = (cells >= valid_wh[:, level]).any(-1)
    return Memory(tokens, spatial_shapes, level_wh, valid_wh, padding)


def _size_hw(feat: Tensor) -> tuple[int, int]:
    height, width = feat.shape[-2:]
    if is_exporting() and not torch.jit.is_tracing():
        return height, width  # perhaps symbols, which stay open
    return int(height), int(width)


def token_centres(memory: Memory) -> Tensor:
    """Centre (x, y) of each token as a share of its image, (B, S, 2), or (1, S, 2) without padding.

    Tokens in the padding lie beyond 1.
    """
    cells, level = token_grid(memory.spatial_shapes, memory.tokens.device)
    wh = memory.level_wh[None] if memory.valid_wh is None else memory.valid_wh
    return (cells.to(wh.dtype) + 0.5) / wh[:, level]


def token_grid(spatial_shapes: SpatialShapes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Column and row (S, 2) and level (S,) of each token, int64."""
    return _make_token_grid(spatial_shapes, device) if is_exporting() else _cached_token_grid(spatial_shapes, device)


@lru_cache(maxsize=64)
def _cached_token_grid(spatial_shapes: SpatialShapes, device: torch.device) -> tuple[Tensor, Tensor]:
    # cached, so it must serve training later even if this call is made in inference mode
    with torch.inference_mode(False):
        return _make_token_grid(spatial_shapes, device)


def _make_token_grid(spatial_shapes, device) -> tuple[Tensor, Tensor]:
    cells, levels = [], []
    for level, (height, width) in enumerate(spatial_shapes):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        cells.append(torch.stack([x, y], -1).view(-1, 2))
        levels.append(torch.full((height * width,), level))
    return torch.cat(cells).to(device), torch.cat(levels).to(device)


def _level_wh(spatial_shapes: SpatialShapes, device: torch.device) -> Tensor:
    if is_exporting():  # sizes may be symbols
        return torch.stack([torch.full((), size, dtype=torch.float32, device=device)
                            for height, width in spatial_shapes for size in (width, height)]).view(-1, 2)
    return _cached_level_wh(spatial_shapes, device)


@lru_cache(maxsize=64)
def _cached_level_wh(spatial_shapes: SpatialShapes, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([(width, height) for height, width in spatial_shapes], dtype=torch.float32, device=device)


def _valid_cells(image_sizes_hw, input_hw, spatial_shapes: SpatialShapes) -> Tensor:
    """(B, L, 2) columns and rows inside the image, as nearest-neighbour shrinking of a padding mask counts them."""
    counts = []
    for level_hw in spatial_shapes:
        per_axis = []
        for axis in (1, 0):
            inside = torch.arange(input_hw[axis])[None] < torch.tensor([size[axis] for size in image_sizes_hw])[:, None]
            shrunk = F.interpolate(inside[:, None].float(), size=level_hw[axis])
            per_axis.append(shrunk[:, 0].sum(-1))
        counts.append(torch.stack(per_axis, -1))
    return torch.stack(counts, 1)
