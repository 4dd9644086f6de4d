"""Neighborhood attention as dense attention between tiles of queries and the keys that their windows reach.

Windows are separable: along one axis a tile of t queries reaches at most t + K - 1 keys of its dilation group, and
which of them each query sees depends on the border only, so that an axis has three or four classes of tiles. A
score matrix therefore starts as a copy of the bias of its class, -inf outside the windows, to which the products
are added. Tiles are processed a few at a time, and the backward pass computes the scores anew: besides maps of the
size of the input, only the chunk in hand is stored. Sums have a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from .neighborhood_axes import axis_tiles, tile_size
from .weighted_rows import grad_table

#: Scores of one chunk. In the backward pass a chunk takes about ten times as many numbers.
CPU_SCORES, CUDA_SCORES = 2**19, 2**23


class Tiling:
    """How the maps of one call are cut. A map is one head of one image; maps are numbered head-major.

    Chunks are (slice of maps, slice of rows of tiles); rows are only cut where a chunk is a single map.
    """

    def __init__(self, query: torch.Tensor, kernel_hw: Sequence[int], dilation_hw: Sequence[int]):
        self.batch, self.height, self.width, self.heads, _ = query.shape
        kernel_hw, dilation_hw = tuple(kernel_hw), tuple(dilation_hw)
        tile_h, tile_w = tile_size((self.height, self.width), kernel_hw, dilation_hw)
        self.kernel_hw = kernel_hw
        self.device = query.device
        self.dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
        self.h = axis_tiles(self.height, kernel_hw[0], dilation_hw[0], tile_h, query.device)
        self.w = axis_tiles(self.width, kernel_hw[1], dilation_hw[1], tile_w, query.device)
        self.num_maps = self.heads * self.batch
        self.queries_hw = tile_h, tile_w
        self.keys_hw = self.h.keys.shape[1], self.w.keys.shape[1]
        self.num_queries, self.num_keys = tile_h * tile_w, self.keys_hw[0] * self.keys_hw[1]
        self.num_tiles_hw = len(self.h.keys), len(self.w.keys)
        self.num_classes_hw = len(self.h.bias_index), len(self.w.bias_index)

    def chunks(self) -> Iterator[tuple[slice, slice]]:
        rows, columns = self.num_tiles_hw
        budget = CUDA_SCORES if self.device.type == 'cuda' else CPU_SCORES
        rows_per_chunk = max(1, budget // (columns * self.num_queries * self.num_keys))
        step_maps, step_rows = max(1, rows_per_chunk // rows), min(rows, rows_per_chunk)
        for first_map in range(0, self.num_maps, step_maps):
            for first_row in range(0, rows, step_rows):
                yield (
                    slice(first_map, min(first_map + step_maps, self.num_maps)),
                    slice(first_row, min(first_row + step_rows, rows)),
                )

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, heads, D) -> (maps * H * W, D): the tokens that a tile fetches lie near each other."""
        return x.permute(3, 0, 1, 2, 4).reshape(-1, x.shape[-1])

    def join(self, x: torch.Tensor) -> torch.Tensor:
        """(maps, H, W, D) -> (B, H, W, heads, D)."""
        return x.unflatten(0, (self.heads, self.batch)).permute(1, 2, 3, 0, 4)

    def gather(self, x: torch.Tensor, maps: slice, rows_h: torch.Tensor, rows_w: torch.Tensor) -> torch.Tensor:
        """Tokens at (tiles of h, n), (tiles of w, m) of split maps -> (tiles, n * m, D) in the dtype of sums."""
        tokens = (rows_h[:, None, :, None] * self.width + rows_w[None, :, None, :]).flatten(0, 1).flatten(1)
        first = torch.arange(maps.start, maps.stop, device=x.device) * (self.height * self.width)
        index = (first[:, None, None] + tokens).flatten(0, 1)
        return x.index_select(0, index.flatten()).view(*index.shape, x.shape[-1]).to(self.dtype)

    def gather_queries(self, x, maps, rows):
        return self.gather(x, maps, self.h.queries[rows], self.w.queries)

    def gather_keys(self, x, maps, rows):
        return self.gather(x, maps, self.h.keys[rows], self.w.keys)

    def clear_repetitions(self, tiles: torch.Tensor, rows: slice) -> torch.Tensor:
        """Zero for queries that only fill their tile."""
        if not (self.h.has_repetitions or self.w.has_repetitions):
            return tiles
        is_query = (self.h.is_query[rows][:, None, :, None] & self.w.is_query[:, None]).flatten(0, 1).flatten(1)
        return (tiles.unflatten(0, (-1, len(is_query))) * is_query[..., None]).flatten(0, 1)

    def new_query_tiles(self, dim: int) -> torch.Tensor:
        shape = self.num_maps, *self.num_tiles_hw, self.num_queries, dim
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def new_maps(self, dim: int) -> torch.Tensor:
        return torch.zeros(self.num_maps, self.height, self.width, dim, dtype=self.dtype, device=self.device)

    def ungather_queries(self, tiles: torch.Tensor) -> torch.Tensor:
        """(maps, tiles of h, of w, t_h * t_w, D) of all maps -> (B, H, W, heads, D)."""
        tile_h, tile_w = self.queries_hw
        slots_h, slots_w = self.h.query_slots, self.w.query_slots
        per_row = self.num_tiles_hw[1] * self.num_queries
        rows = slots_h // tile_h * per_row + slots_h % tile_h * tile_w
        columns = slots_w // tile_w * self.num_queries + slots_w % tile_w
        number = torch.arange(self.num_maps, device=tiles.device).view(self.heads, self.batch).T
        index = (rows[:, None] + columns)[None, ..., None] + (number * self.num_tiles_hw[0] * per_row)[:, None, None]
        return tiles.view(-1, tiles.shape[-1]).index_select(0, index.flatten()).view(*index.shape, tiles.shape[-1])

    def add_keys(self, total: torch.Tensor, tiles: torch.Tensor, maps: slice, rows: slice) -> None:
        """Add (tiles, R_h * R_w, D) to total (all maps, H, W, D) at the keys of the tiles."""
        (reach_h, reach_w), dim = self.keys_hw, tiles.shape[-1]
        num_maps, num_rows, num_columns = maps.stop - maps.start, rows.stop - rows.start, self.num_tiles_hw[1]
        # Columns first: each token is a bag of the places at which tiles of one row hold it.
        places = self.w.key_slots // reach_w * self.num_keys + self.w.key_slots % reach_w
        line = torch.arange(num_maps * num_rows, device=tiles.device)[:, None] * (num_columns * self.num_keys)
        line = (line + torch.arange(reach_h, device=tiles.device) * reach_w).view(-1, 1)
        number = torch.arange(len(line), device=tiles.device)[:, None] * len(places)
        lines = F.embedding_bag(
            (line + places).flatten(),
            tiles.view(-1, dim),
            (number + self.w.key_slot_starts).flatten(),
            mode='sum',
        ).view(num_maps, num_rows, reach_h, -1)
        # Then rows. Those of one set never meet, so the sum has one order on every device. (A group shorter than
        # the others repeats its last token, but what is added there is zero.)
        total = total[maps].flatten(2)
        for first, end in self.h.sets:
            first, end = max(first, rows.start), min(end, rows.stop)
            if first < end:
                part = lines[:, first - rows.start : end - rows.start].flatten(1, 2)
                total.index_add_(1, self.h.keys[first:end].flatten(), part)

    def class_scores(self, bias: torch.Tensor | None) -> torch.Tensor:
        """What scores start from in each class of tiles, (heads or 1, classes of h, of w, t_h * t_w * R_h * R_w)."""
        index_h, index_w = self.h.bias_index, self.w.bias_index
        seen = (index_h >= 0)[:, None, :, None, :, None] & (index_w >= 0)[None, :, None, :, None, :]
        if bias is None:
            scores = torch.zeros(1, *seen.shape, dtype=self.dtype, device=self.device)
        else:
            bias = bias.to(self.dtype)[:, index_h.clamp(min=0)][..., index_w.clamp(min=0)]
            scores = bias.permute(0, 1, 4, 2, 5, 3, 6)
        return scores.masked_fill(~seen, float('-inf')).reshape(len(scores), *self.num_classes_hw, -1)

    def classes(self, maps: slice, rows: slice) -> torch.Tensor:
        """Number of the class of every tile, (maps, tiles of h, of w), with the head as the slowest part."""
        of_tile = self.h.classes[rows][:, None] * self.num_classes_hw[1] + self.w.classes
        head = torch.arange(maps.start, maps.stop, device=self.device) // self.batch
        return head[:, None, None] * (self.num_classes_hw[0] * self.num_classes_hw[1]) + of_tile

    def softmax(self, query_tiles, key_tiles, scale, class_scores, maps, rows):
        """Attention weights (tiles, queries, keys)."""
        classes = self.classes(maps, rows)
        num_classes = self.num_classes_hw[0] * self.num_classes_hw[1]
        if len(class_scores) == 1:
            classes = classes % num_classes
        scores = class_scores.flatten(0, 2).index_select(0, classes.flatten())
        scores = scores.view(-1, self.num_queries, self.num_keys)
        return scores.baddbmm_(query_tiles, key_tiles.mT, alpha=scale).softmax(-1)

    def add_bias(self, total: torch.Tensor, grad_scores: torch.Tensor, maps: slice, rows: slice) -> None:
        """Add the score gradients of a chunk to total, as class_scores."""
        first, end = maps.start // self.batch, (maps.stop - 1) // self.batch + 1
        num_classes = self.num_classes_hw[0] * self.num_classes_hw[1]
        classes = self.classes(maps, rows).view(-1, 1) - first * num_classes
        grad = grad_scores.view(len(classes), -1)
        weights = grad.new_ones(()).expand(classes.shape)
        total[first:end] += grad_table(grad, classes, weights, (end - first) * num_classes).view(total[first:end].shape)

    def bias_gradient(self, grad_class_scores: torch.Tensor) -> torch.Tensor:
        """As class_scores -> (heads, 2 kh - 1, 2 kw - 1)."""
        index_h, index_w = self.h.bias_index, self.w.bias_index
        (num_h, tile_h, reach_h), (num_w, tile_w, reach_w) = index_h.shape, index_w.shape
        grad = grad_class_scores.view(self.heads, num_h, num_w, tile_h, tile_w, reach_h, reach_w)
        grad = grad.permute(0, 1, 3, 5, 2, 4, 6).reshape(self.heads, index_h.numel(), index_w.numel())
        for index, kernel_size in ((index_w, self.kernel_hw[1]), (index_h, self.kernel_hw[0])):
            places = torch.arange(2 * kernel_size - 1, device=grad.device)[:, None]
            one_hot = (index.flatten() == places).to(grad.dtype)
            grad = (grad @ one_hot.T).mT  # brings the other axis to the end
        return grad.contiguous()


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    kernel_hw: Sequence[int],
    dilation_hw: Sequence[int],
    scale: float,
) -> torch.Tensor:
    """`neighborhood_attention` of checked arguments."""
    tiling = Tiling(query, kernel_hw, dilation_hw)
    query_maps, key_maps, value_maps = tiling.split(query), tiling.split(key), tiling.split(value)
    class_scores = tiling.class_scores(bias)
    out = tiling.new_query_tiles(value.shape[-1])
    with torch.autocast(query.device.type, enabled=False):
        for maps, rows in tiling.chunks():
            query_tiles = tiling.gather_queries(query_maps, maps, rows)
            key_tiles = tiling.gather_keys(key_maps, maps, rows)
            weights = tiling.softmax(query_tiles, key_tiles, scale, class_scores, maps, rows)
            value_tiles = tiling.gather_keys(value_maps, maps, rows)
            torch.bmm(weights, value_tiles, out=out[maps, rows].flatten(0, 2))
    return tiling.ungather_queries(out).to(value.dtype)


tiled_attention = torch.library.custom_op('detrove::neighborhood_attention', attend, mutates_args=())


@tiled_attention.register_fake
def _(query, key, value, bias, kernel_hw, dilation_hw, scale):
    return value.new_empty(value.shape)


def attend_backward(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    kernel_hw: Sequence[int],
    dilation_hw: Sequence[int],
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key, value and bias (a placeholder where there is none)."""
    tiling = Tiling(query, kernel_hw, dilation_hw)
    query_maps, key_maps, value_maps, grad_maps = (tiling.split(x) for x in (query, key, value, grad))
    class_scores = tiling.class_scores(bias)
    grad_query = tiling.new_query_tiles(query.shape[-1])
    grad_key, grad_value = tiling.new_maps(key.shape[-1]), tiling.new_maps(value.shape[-1])
    grad_class_scores = torch.zeros_like(class_scores)
    with torch.autocast(query.device.type, enabled=False):
        for maps, rows in tiling.chunks():
            query_tiles = tiling.gather_queries(query_maps, maps, rows)
            key_tiles = tiling.gather_keys(key_maps, maps, rows)
            weights = tiling.softmax(query_tiles, key_tiles, scale, class_scores, maps, rows)
            grad_tiles = tiling.clear_repetitions(tiling.gather_queries(grad_maps, maps, rows), rows)
            tiling.add_keys(grad_value, weights.mT @ grad_tiles, maps, rows)
            grad_weights = grad_tiles @ tiling.gather_keys(value_maps, maps, rows).mT
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            if bias is not None:
                tiling.add_bias(grad_class_scores, grad_scores, maps, rows)
            torch.bmm(grad_scores, key_tiles, out=grad_query[maps, rows].flatten(0, 2))
            tiling.add_keys(grad_key, grad_scores.mT @ query_tiles, maps, rows)
        grad_bias = grad.new_zeros(()) if bias is None else tiling.bias_gradient(grad_class_scores).to(bias.dtype)
    return (
        tiling.ungather_queries(grad_query).mul_(scale).to(query.dtype),
        tiling.join(grad_key.mul_(scale)).to(key.dtype).contiguous(),
        tiling.join(grad_value).to(value.dtype).contiguous(),
        grad_bias,
    )


tiled_attention_backward = torch.library.custom_op(
    'detrove::neighborhood_attention_backward', attend_backward, mutates_args=()
)


@tiled_attention_backward.register_fake
def _(grad, query, key, value, bias, kernel_hw, dilation_hw, scale):
    grad_bias = grad.new_empty(()) if bias is None else torch.empty_like(bias, memory_format=torch.contiguous_format)
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape), grad_bias


def _setup_context(ctx, inputs, output):
    query, key, value, bias, ctx.kernel_hw, ctx.dilation_hw, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, bias)


def _backward(ctx, grad):
    query, key, value, bias = ctx.saved_tensors
    grad_query, grad_key, grad_value, grad_bias = tiled_attention_backward(
        grad, query, key, value, bias, ctx.kernel_hw, ctx.dilation_hw, ctx.scale
    )
    return grad_query, grad_key, grad_value, None if bias is None else grad_bias, None, None, None


tiled_attention.register_autograd(_backward, setup_context=_setup_context)
