"""Triton kernels of multi-scale deformable attention, for CUDA.

One program samples for a block of queries of one head and image; a tile (queries x channels) is summed in fp32
registers. What depends on a sampling point alone (place, weight, size of its level) is computed once for all channels,
and channels are contiguous, so that corners are read as vectors. The loop over points is not unrolled: unrolled, the
kernel needs four times the registers on sm_90 and spills. Gradients of locations and weights belong to one program
each; the gradient of the value is added up atomically in fp32, so its last bits depend on the order of programs.
`ms_deform_attn` therefore takes its other path where `torch.use_deterministic_algorithms` asks for it.
"""

import torch
import triton
import triton.language as tl

QUERIES_PER_PROGRAM = 32
NUM_WARPS = 4


@triton.jit
def _point(point, locations, weights, width, height, start, rows, is_query):
    """Of one sampling point of every query: corner columns and lines, fractions, weight, and its level."""
    level_width = tl.load(width + point)
    level_height = tl.load(height + point)
    x = tl.load(locations + 2 * (rows + point), mask=is_query, other=0.0) * level_width - 0.5
    y = tl.load(locations + 2 * (rows + point) + 1, mask=is_query, other=0.0) * level_height - 0.5
    weight = tl.load(weights + rows + point, mask=is_query, other=0.0)
    x_floor = tl.floor(x)
    y_floor = tl.floor(y)
    # Bounded before the conversion to int; a NaN stays in the fractions, and so shows in the result.
    column = tl.minimum(tl.maximum(x_floor, -2.0), level_width).to(tl.int32)
    line = tl.minimum(tl.maximum(y_floor, -2.0), level_height).to(tl.int32)
    return (column, line, x - x_floor, y - y_floor, weight, level_width.to(tl.int32), level_height.to(tl.int32),
            tl.load(start + point))


@triton.jit
def _corner(base, column, line, level_width, level_height, level_start, token_stride, is_query, channels, is_channel):
    """Offsets into value (queries x channels) of one corner of every query, and where they may be read."""
    inside = is_query & (column >= 0) & (column < level_width) & (line >= 0) & (line < level_height)
    token = level_start + line * level_width + column
    offsets = base + token[:, None].to(tl.int64) * token_stride + channels[None, :]
    return offsets, inside[:, None] & is_channel[None, :]


@triton.jit
def _forward_kernel(value, locations, weights, width, height, start, out, num_tokens, num_queries, num_heads,
                    num_points, head_dim, BLOCK_Q: tl.constexpr, BLOCK_D: tl.constexpr):
    image = (tl.program_id(1) // num_heads).to(tl.int64)
    head = tl.program_id(1) % num_heads
    query = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    channels = tl.arange(0, BLOCK_D)
    is_query = query < num_queries
    is_channel = channels < head_dim
    token_stride = num_heads * head_dim
    base = image * num_tokens * token_stride + head * head_dim
    place = (image * num_queries + query) * num_heads + head
    total = tl.zeros((BLOCK_Q, BLOCK_D), dtype=tl.float32)
    for point in range(num_points):
        column, line, fx, fy, weight, w, h, first = _point(
            point, locations, weights, width, height, start, place * num_points, is_query)
        for corner in tl.static_range(4):
            dx = corner % 2
            dy = corner // 2
            offsets, inside = _corner(base, column + dx, line + dy, w, h, first, token_stride, is_query, channels,
                                      is_channel)
            share = (fx if dx == 1 else 1 - fx) * (fy if dy == 1 else 1 - fy) * weight
            total += tl.load(value + offsets, mask=inside, other=0.0).to(tl.float32) * share[:, None]
    tl.store(out + place[:, None] * head_dim + channels[None, :], total.to(out.dtype.element_ty),
             mask=is_query[:, None] & is_channel[None, :])


@triton.jit
def _backward_kernel(grad, value, locations, weights, width, height, start, grad_value, grad_locations, grad_weights,
                     num_tokens, num_queries, num_heads, num_points, head_dim, BLOCK_Q: tl.constexpr,
                     BLOCK_D: tl.constexpr):
    image = (tl.program_id(1) // num_heads).to(tl.int64)
    head = tl.program_id(1) % num_heads
    query = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    channels = tl.arange(0, BLOCK_D)
    is_query = query < num_queries
    is_channel = channels < head_dim
    token_stride = num_heads * head_dim
    base = image * num_tokens * token_stride + head * head_dim
    place = (image * num_queries + query) * num_heads + head
    grad_out = tl.load(grad + place[:, None] * head_dim + channels[None, :],
                       mask=is_query[:, None] & is_channel[None, :], other=0.0).to(tl.float32)
    for point in range(num_points):
        rows = place * num_points
        column, line, fx, fy, weight, w, h, first = _point(
            point, locations, weights, width, height, start, rows, is_query)
        grad_weight = tl.zeros((BLOCK_Q,), dtype=tl.float32)
        grad_x = tl.zeros((BLOCK_Q,), dtype=tl.float32)
        grad_y = tl.zeros((BLOCK_Q,), dtype=tl.float32)
        for corner in tl.static_range(4):
            dx = corner % 2
            dy = corner // 2
            offsets, inside = _corner(base, column + dx, line + dy, w, h, first, token_stride, is_query, channels,
                                      is_channel)
            wx = fx if dx == 1 else 1 - fx
            wy = fy if dy == 1 else 1 - fy
            tl.atomic_add(grad_value + offsets, grad_out * (wx * wy * weight)[:, None], mask=inside, sem='relaxed')
            sample = tl.load(value + offsets, mask=inside, other=0.0).to(tl.float32)
            grad_share = tl.sum(sample * grad_out, axis=1)
            grad_weight += wx * wy * grad_share
            grad_x += (2 * dx - 1) * wy * grad_share
            grad_y += (2 * dy - 1) * wx * grad_share
        tl.store(grad_weights + rows + point, grad_weight, mask=is_query)
        tl.store(grad_locations + 2 * (rows + point), grad_x * weight * w, mask=is_query)
        tl.store(grad_locations + 2 * (rows + point) + 1, grad_y * weight * h, mask=is_query)


def forward(value: torch.Tensor, levels: tuple[torch.Tensor, ...], locations: torch.Tensor,
            weights: torch.Tensor) -> torch.Tensor:
    """Sampled and summed value.

    Args:
        value: (B, S, H, D) in fp32, fp16 or bf16.
        levels: width and height (float), first token of the level of each sampling point, (K,) each.
        locations: (B, Q, H, K, 2) in fp32, xy in units of the map.
        weights: (B, Q, H, K) in fp32.

    Returns:
        (B, Q, H * D) in value's dtype.
    """
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    batch, num_tokens, num_heads, head_dim = value.shape
    num_queries, num_points = weights.shape[1], weights.shape[3]
    out = value.new_empty((batch, num_queries, num_heads * head_dim))
    _forward_kernel[_grid(num_queries, batch, num_heads)](
        value, locations, weights, *levels, out, num_tokens, num_queries, num_heads, num_points, head_dim,
        **_blocks(head_dim))
    return out


def backward(grad: torch.Tensor, value: torch.Tensor, levels: tuple[torch.Tensor, ...], locations: torch.Tensor,
             weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of value (in its dtype), locations and weights; grad (B, Q, H * D), the others as for `forward`."""
    grad, value = grad.contiguous(), value.contiguous()
    locations, weights = locations.contiguous(), weights.contiguous()
    batch, num_tokens, num_heads, head_dim = value.shape
    num_queries, num_points = weights.shape[1], weights.shape[3]
    grad_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
    _backward_kernel[_grid(num_queries, batch, num_heads)](
        grad, value, locations, weights, *levels, grad_value, grad_locations, grad_weights, num_tokens, num_queries,
        num_heads, num_points, head_dim, **_blocks(head_dim))
    return grad_value.to(value.dtype), grad_locations, grad_weights


def _grid(num_queries, batch, num_heads):
    return triton.cdiv(num_queries, QUERIES_PER_PROGRAM), batch * num_heads


def _blocks(head_dim):
    return dict(BLOCK_Q=QUERIES_PER_PROGRAM, BLOCK_D=triton.next_power_of_2(head_dim), num_warps=NUM_WARPS)
