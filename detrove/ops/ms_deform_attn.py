"""Multi-scale deformable attention (Deformable DETR, arXiv:2010.04159; RT-DETRv2, arXiv:2407.17140).

`ms_deform_attn` is what layers call. `ms_deform_attn_reference` says the same thing with `grid_sample` and is the form
that tracers see; inside `export_form` samples are gathered instead, unless asked for. On CUDA the Triton kernels of
`ms_deform_attn_triton` run where they apply. The path for all else, exact and deterministic, turns every bilinear
sample into four rows of `value` and lets `embedding_bag` do the weighted sum; its backward recomputes those rows from
the inputs, so nothing of size queries x points x channels is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain

import torch
import torch.nn.functional as F

from .export_form import sampling_form
from .triton_support import triton_refusal
from .weighted_rows import grad_table, grad_weights, sum_rows

METHODS = ('default', 'discrete')


def ms_deform_attn(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]] | torch.Tensor,
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
    num_points: Sequence[int] | None = None,
    method: str = 'default',
) -> torch.Tensor:
    """Sample `value` at a few points of every level and sum the samples by weight.

    Sampling is bilinear with zeros outside the map (`method='default'`), or takes the one cell that
    RT-DETRv2's discrete form names, `location * size + 0.5` cut to an integer and clamped into the map
    (`method='discrete'`, no gradient to the locations). The official discrete code clamps x by the height
    too; on square maps that is the same, on others it reads a wrong cell or fails, so here x is clamped by
    the width.

    Locations and weights are used in fp32 (fp64 if value is fp64) whatever value's dtype; sums are
    accumulated in that precision and returned in value's dtype. Gradients are first-order only.

    Args:
        value: (B, S, H, D), the flattened levels one after another, S = sum of h * w.
        spatial_shapes: (h, w) of every level as Python ints. A (L, 2) tensor is accepted, and copied to the
            host on each call, which waits for the device if it lies on one.
        sampling_locations: (B, Q, H, L, P, 2), or (B, Q, H, K, 2) with `num_points`; xy in units of the map,
            [0, 1] inside it.
        attention_weights: (B, Q, H, L, P) or (B, Q, H, K).
        num_points: points of each level, summing to K. Needed for, and only for, the (B, Q, H, K, 2) form.
        method: 'default' or 'discrete'.

    Returns:
        (B, Q, H * D) in value's dtype.

    Raises:
        ValueError: shapes that do not fit together, or an unknown method.
    """
    shapes = as_level_shapes(spatial_shapes)
    locations, weights, num_points = _flatten_points(
        value, shapes, sampling_locations, attention_weights, num_points, method
    )
    if sampling_form() == 'gather':
        return _sample_by_gather(value, shapes, locations, weights, num_points, method)
    if sampling_form() or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing():
        return _sample_by_grid(value, shapes, locations, weights, num_points, method)
    return _ms_deform_attn(value, list(chain(*shapes)), list(num_points), locations, weights, method == 'discrete')


def ms_deform_attn_reference(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]] | torch.Tensor,
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
    num_points: Sequence[int] | None = None,
    method: str = 'default',
) -> torch.Tensor:
    """`ms_deform_attn` in plain PyTorch, readable and exportable: same arguments, result and errors."""
    shapes = as_level_shapes(spatial_shapes)
    locations, weights, num_points = _flatten_points(
        value, shapes, sampling_locations, attention_weights, num_points, method
    )
    return _sample_by_grid(value, shapes, locations, weights, num_points, method)


def as_level_shapes(spatial_shapes: Sequence[tuple[int, int]] | torch.Tensor) -> tuple[tuple[int, int], ...]:
    """((h, w), ...) as Python ints; a (L, 2) tensor is copied to the host once."""
    if isinstance(spatial_shapes, torch.Tensor):
        spatial_shapes = spatial_shapes.tolist()
    return tuple((h, w) for h, w in spatial_shapes)


def triton_kernels(value: torch.Tensor):
    """The module with the Triton kernels if they serve this value, else None."""
    if triton_refusal(value) is not None:
        return None
    from . import ms_deform_attn_triton

    return ms_deform_attn_triton


def _flatten_points(value, shapes, locations, weights, num_points, method):
    """Check every shape and bring both point layouts to locations (B, Q, H, K, 2), weights (B, Q, H, K)."""
    if method not in METHODS:
        raise ValueError(f'ms_deform_attn: method={method!r}, expected one of {METHODS}.')
    if value.dim() != 4:
        raise ValueError(f'ms_deform_attn: value has shape {tuple(value.shape)}, expected (B, S, H, D).')
    if num_points is None:
        if locations.dim() != 6:
            raise ValueError(
                f'ms_deform_attn: sampling_locations has shape {tuple(locations.shape)}, expected '
                '(B, Q, H, L, P, 2); for (B, Q, H, K, 2) pass num_points, the points of each level.'
            )
        num_points = (locations.shape[4],) * locations.shape[3]
        layout = locations.shape[:5]
    else:
        num_points = tuple(num_points)
        if locations.dim() != 5 or locations.shape[3] != sum(num_points):
            raise ValueError(
                f'ms_deform_attn: sampling_locations has shape {tuple(locations.shape)}, expected '
                f'(B, Q, H, K, 2) with K = {sum(num_points)} for num_points={num_points}.'
            )
        layout = locations.shape[:4]
    batch, num_tokens, num_heads, _ = value.shape
    if locations.shape[0] != batch or locations.shape[2] != num_heads or locations.shape[-1] != 2:
        raise ValueError(
            f'ms_deform_attn: sampling_locations has shape {tuple(locations.shape)}, which does not fit '
            f'value {tuple(value.shape)}: expected ({batch}, Q, {num_heads}, ..., 2).'
        )
    if len(num_points) != len(shapes):
        raise ValueError(
            f'ms_deform_attn: sampling points for {len(num_points)} levels, but spatial_shapes lists '
            f'{len(shapes)}: {shapes}.'
        )
    if sum(h * w for h, w in shapes) != num_tokens:
        raise ValueError(
            f'ms_deform_attn: value has {num_tokens} tokens, but spatial_shapes {shapes} make '
            f'{sum(h * w for h, w in shapes)}.'
        )
    if weights.shape != layout:
        raise ValueError(
            f'ms_deform_attn: attention_weights has shape {tuple(weights.shape)}, expected {tuple(layout)} '
            f'for sampling_locations {tuple(locations.shape)}.'
        )
    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    return locations.flatten(3, -2).to(dtype), weights.flatten(3).to(dtype), num_points


def _sample_by_grid(value, shapes, locations, weights, num_points, method):
    batch, _, num_heads, head_dim = value.shape
    num_queries = locations.shape[1]
    maps = value.to(locations.dtype).flatten(2).mT.split([h * w for h, w in shapes], dim=2)
    # (B, Q, H, K, ...) -> (B * H, Q, K, ...)
    locations = locations.transpose(1, 2).flatten(0, 1).split(list(num_points), dim=2)
    weights = weights.transpose(1, 2).flatten(0, 1).split(list(num_points), dim=2)
    out = value.new_zeros((batch * num_heads, head_dim, num_queries), dtype=maps[0].dtype)
    for (h, w), level, xy, weight in zip(shapes, maps, locations, weights, strict=True):
        if method == 'discrete':
            x, y = (xy * xy.new_tensor([w, h]) + 0.5).long().unbind(-1)
            cell = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
            level = level.reshape(batch * num_heads, head_dim, h * w)
            samples = level.gather(2, cell.flatten(1)[:, None].expand(-1, head_dim, -1)).unflatten(2, cell.shape[1:])
        else:
            level = level.reshape(batch * num_heads, head_dim, h, w)
            samples = F.grid_sample(level, 2 * xy - 1, mode='bilinear', padding_mode='zeros', align_corners=False)
        out = out + (samples * weight[:, None]).sum(-1)
    return out.reshape(batch, num_heads * head_dim, num_queries).mT.to(value.dtype)


def _sample_by_gather(value, shapes, locations, weights, num_points, method):
    """Samples as rows of `value`, one corner after the other: what is held at once is queries x points x D."""
    batch, num_tokens, num_heads, head_dim = value.shape
    width, height, start = (_per_point(sizes, num_points, value.device) for sizes in _widths_heights_starts(shapes))
    image = torch.arange(batch, device=value.device).view(-1, 1, 1, 1) * num_tokens
    head = torch.arange(num_heads, device=value.device).view(-1, 1)
    rows = value.reshape(-1, head_dim)
    out = 0
    for column, line, weight in _corners(locations[..., 0] * width, locations[..., 1] * height, weights, method,
                                         width, height):
        token = start + line.clamp(min=0).minimum(height - 1) * width + column.clamp(min=0).minimum(width - 1)
        samples = rows[((image + token) * num_heads + head).flatten()].to(locations.dtype)
        out = out + weight[..., None, :] @ samples.view(*locations.shape[:4], head_dim)
    return out.reshape(batch, -1, num_heads * head_dim).to(value.dtype)


def _corners(x, y, weights, method, width, height):
    """Column and line (int64, perhaps outside the map) and weight (zero there) of the cells that make each sample."""
    if method == 'discrete':
        yield (x + 0.5).long(), (y + 0.5).long(), weights
        return
    x, y = x - 0.5, y - 0.5
    x_floor, y_floor = x.floor(), y.floor()
    x, y = x - x_floor, y - y_floor
    for column, weight_x in ((x_floor, 1 - x), (x_floor + 1, x)):
        for line, weight_y in ((y_floor, 1 - y), (y_floor + 1, y)):
            inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
            yield column.long(), line.long(), weights * weight_x * weight_y * inside


def _widths_heights_starts(shapes):
    starts = list(accumulate((h * w for h, w in shapes[:-1]), initial=0))
    return [w for _, w in shapes], [h for h, _ in shapes], starts


def _per_point(numbers, num_points, device):
    """A number of each level -> (K,) int64, of the level of each point; numbers may be symbols."""
    return torch.cat([torch.full((n,), number, device=device, dtype=torch.int64)
                      for number, n in zip(numbers, num_points, strict=True)])


@torch.library.custom_op('detrove::ms_deform_attn', mutates_args=())
def _ms_deform_attn(
    value: torch.Tensor,
    shapes: Sequence[int],
    num_points: Sequence[int],
    locations: torch.Tensor,
    weights: torch.Tensor,
    discrete: bool,
) -> torch.Tensor:
    batch, _, num_heads, head_dim = value.shape
    num_queries = locations.shape[1]
    if locations.numel() == 0:
        return value.new_zeros((batch, num_queries, num_heads * head_dim))
    levels = _levels(tuple(shapes), tuple(num_points), value.device, locations.dtype)
    kernels = None if discrete else triton_kernels(value)
    if kernels is not None:
        return kernels.forward(value, levels[:3], locations, weights)
    if discrete:
        rows = _discrete_rows(value, levels, locations)
        row_weights = weights
    else:
        rows, wx, wy, _ = _bilinear_rows(value, levels, locations)
        row_weights = _corner_products(wx, wy) * weights[..., None]
    bags = batch * num_queries * num_heads
    out = sum_rows(_value_rows(value, locations), rows.view(bags, -1), row_weights.reshape(bags, -1))
    return out.view(batch, num_queries, num_heads * head_dim).to(value.dtype)


@_ms_deform_attn.register_fake
def _(value, shapes, num_points, locations, weights, discrete):
    return value.new_empty((value.shape[0], locations.shape[1], value.shape[2] * value.shape[3]))


@torch.library.custom_op('detrove::ms_deform_attn_backward', mutates_args=())
def _ms_deform_attn_backward(
    grad: torch.Tensor,
    value: torch.Tensor,
    shapes: Sequence[int],
    num_points: Sequence[int],
    locations: torch.Tensor,
    weights: torch.Tensor,
    discrete: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if locations.numel() == 0:
        return torch.zeros_like(value), torch.zeros_like(locations), torch.zeros_like(weights)
    levels = _levels(tuple(shapes), tuple(num_points), value.device, locations.dtype)
    kernels = None if discrete else triton_kernels(value)
    if kernels is not None:
        return kernels.backward(grad, value, levels[:3], locations, weights)
    value_rows = _value_rows(value, locations)
    grad_bags = grad.reshape(-1, value.shape[3]).to(locations.dtype)
    bags = grad_bags.shape[0]

    def grad_value_of(rows, row_weights):
        grad_rows = grad_table(grad_bags, rows.view(bags, -1), row_weights.reshape(bags, -1), value_rows.shape[0])
        return grad_rows.view(value.shape).to(value.dtype)

    if discrete:
        rows = _discrete_rows(value, levels, locations)
        grad_row_weights = grad_weights(grad_bags, value_rows, rows.view(bags, -1)).view(rows.shape)
        return grad_value_of(rows, weights), locations.new_zeros(()), grad_row_weights
    rows, (wx0, wx1), (wy0, wy1), (in_x0, in_x1, in_y0, in_y1) = _bilinear_rows(value, levels, locations)
    grad_value = grad_value_of(rows, _corner_products((wx0, wx1), (wy0, wy1)) * weights[..., None])
    # g_yx is the gradient of the weight of the corner (y, x), before it is multiplied by the attention weight
    g00, g01, g10, g11 = grad_weights(grad_bags, value_rows, rows.view(bags, -1)).view(rows.shape).unbind(-1)
    g_y0 = wx0 * g00 + wx1 * g01
    g_y1 = wx0 * g10 + wx1 * g11
    grad_attention = wy0 * g_y0 + wy1 * g_y1
    width, height = levels[0], levels[1]
    grad_y = (in_y1 * g_y1 - in_y0 * g_y0) * weights * height
    grad_x = (wy0 * (in_x1 * g01 - in_x0 * g00) + wy1 * (in_x1 * g11 - in_x0 * g10)) * weights * width
    return grad_value, torch.stack((grad_x, grad_y), -1), grad_attention


@_ms_deform_attn_backward.register_fake
def _(grad, value, shapes, num_points, locations, weights, discrete):
    grad_locations = locations.new_empty(()) if discrete else torch.empty_like(locations)
    return torch.empty_like(value), grad_locations, torch.empty_like(weights)


def _setup_context(ctx, inputs, output):
    value, ctx.shapes, ctx.num_points, locations, weights, ctx.discrete = inputs
    ctx.save_for_backward(value, locations, weights)


def _backward(ctx, grad):
    value, locations, weights = ctx.saved_tensors
    grad_value, grad_locations, grad_attention = _ms_deform_attn_backward(
        grad, value, ctx.shapes, ctx.num_points, locations, weights, ctx.discrete
    )
    return grad_value, None, None, None if ctx.discrete else grad_locations, grad_attention, None


_ms_deform_attn.register_autograd(_backward, setup_context=_setup_context)


@lru_cache(maxsize=256)
def _levels(shapes, num_points, device, dtype):
    """Per sampling point, each (K,): width and height (float); first token, width and height (int32)."""
    heights, widths = shapes[::2], shapes[1::2]
    starts = accumulate((h * w for h, w in zip(heights, widths, strict=True)), initial=0)
    levels = list(zip(starts, widths, heights, strict=False))  # starts has one more: the end
    table = list(zip(*(level for level, n in zip(levels, num_points, strict=True) for _ in range(n)), strict=True))
    # Cached, so it must serve training later even if this call is made in inference mode.
    with torch.inference_mode(False):
        start, width, height = torch.tensor(table, dtype=torch.int32, device=device)
        return width.to(dtype), height.to(dtype), start, width, height


def _value_rows(value, locations):
    """(B * S * H, D) in the accumulation dtype."""
    return value.reshape(-1, value.shape[3]).to(locations.dtype)


def _token_rows(value, tokens):
    """Index of the (B * S * H, D) row of token (B, Q, H, K, ...) for its batch entry and head."""
    batch, num_tokens, num_heads, _ = value.shape
    index_dtype = torch.int32 if max(value.numel(), tokens.numel()) < 2**31 else torch.int64
    image = torch.arange(batch, device=value.device, dtype=index_dtype) * (num_tokens * num_heads)
    head = torch.arange(num_heads, device=value.device, dtype=index_dtype)
    first = (image[:, None] + head).view(batch, 1, num_heads, *[1] * (tokens.dim() - 3))
    return (tokens.to(index_dtype) * num_heads).add_(first)


def _discrete_rows(value, levels, locations):
    width_f, height_f, start, width, height = levels
    x = (locations[..., 0] * width_f + 0.5).int().clamp_(min=0).minimum(width - 1)
    y = (locations[..., 1] * height_f + 0.5).int().clamp_(min=0).minimum(height - 1)
    return _token_rows(value, start + y * width + x)


def _bilinear_rows(value, levels, locations):
    """Rows of the four corners (B, Q, H, K, 4) in the order (y0 x0, y0 x1, y1 x0, y1 x1), the weights of the
    two columns and of the two lines, zero outside the map, and which of those four lie inside it.

    Clamping follows the conversion to int, so that a NaN location reads some valid cell and shows in the
    result through its weight instead of stopping the device with an index error.
    """
    width_f, height_f, start, width, height = levels
    x = locations[..., 0] * width_f - 0.5
    y = locations[..., 1] * height_f - 0.5
    x_floor, y_floor = x.floor(), y.floor()
    in_x0, in_x1 = (x_floor >= 0) & (x_floor < width_f), (x_floor >= -1) & (x_floor < width_f - 1)
    in_y0, in_y1 = (y_floor >= 0) & (y_floor < height_f), (y_floor >= -1) & (y_floor < height_f - 1)
    x, y = x.sub_(x_floor), y.sub_(y_floor)
    x0, y0 = x_floor.int(), y_floor.int()
    x1 = (x0 + 1).clamp_(min=0).minimum(width - 1)
    y1 = (y0 + 1).clamp_(min=0).minimum(height - 1).mul_(width).add_(start)
    x0 = x0.clamp_(min=0).minimum(width - 1)
    y0 = y0.clamp_(min=0).minimum(height - 1).mul_(width).add_(start)
    rows = _token_rows(value, torch.stack((y0 + x0, y0 + x1, y1 + x0, y1 + x1), -1))
    return rows, ((1 - x) * in_x0, x * in_x1), ((1 - y) * in_y0, y * in_y1), (in_x0, in_x1, in_y0, in_y1)


def _corner_products(wx, wy):
    return torch.stack((wx[0] * wy[0], wx[1] * wy[0], wx[0] * wy[1], wx[1] * wy[1]), -1)
