"""Triton kernels of neighborhood attention with relative position bias, for CUDA.

One program attends for a tile of queries that lie next to each other in one residue class of the dilation. All keys
that any of them sees form one small rectangle, which is read block by block with an online softmax, so that neither
scores nor windows are ever stored. The backward pass recomputes the scores from the logsumexp that the forward pass
kept. Gradients of keys and values are added up atomically in fp32, since neighbouring tiles share keys. The gradient of
the bias needs the gradient of each score, kernel_size^2 numbers for a query: they are stored once, and summed over the
queries of equal place in the map by PyTorch.
"""

import torch
import triton
import triton.language as tl

from .neighborhood_attention import window_tables

TILE = 8  # queries of a tile along each axis
KEYS_PER_STEP = 32
FORWARD_WARPS = 4
BACKWARD_WARPS = 8  # with 4 the kernel spills registers on sm_90


@triton.jit
def _axis(index, num_tiles, length, dilation, rank_in_tile, KERNEL: tl.constexpr, TILE: tl.constexpr):
    """Along one axis, of tile `index`: its residue, tokens of that residue, rank of the first key that it needs, and of
    its queries the rank and the rank of the first key of their windows."""
    residue = index // num_tiles
    first = (index % num_tiles) * TILE
    group = (length - residue + dilation - 1) // dilation
    rank = first + rank_in_tile
    start = tl.minimum(tl.maximum(rank - KERNEL // 2, 0), group - KERNEL)
    return residue, group, tl.minimum(tl.maximum(first - KERNEL // 2, 0), group - KERNEL), rank, start


@triton.jit
def _tile(height, width, dilation_h, dilation_w, tiles_h, tiles_w, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr,
          TILE: tl.constexpr):
    """`_axis` of both axes for the queries of this program."""
    member = tl.arange(0, TILE * TILE)
    along_w = dilation_w * tiles_w
    axis_h = _axis(tl.program_id(0) // along_w, tiles_h, height, dilation_h, member // TILE, KERNEL_H, TILE)
    axis_w = _axis(tl.program_id(0) % along_w, tiles_w, width, dilation_w, member % TILE, KERNEL_W, TILE)
    return axis_h, axis_w


@triton.jit
def _place(rank_h, rank_w, residue_h, residue_w, height, width, num_heads, dilation_h, dilation_w):
    """Index into (B, H, W, heads) of tokens given by their ranks, for this program's image and head."""
    image = (tl.program_id(1) // num_heads).to(tl.int64)
    token = (residue_h + rank_h * dilation_h) * width + residue_w + rank_w * dilation_w
    return (image * height * width + token) * num_heads + tl.program_id(1) % num_heads


@triton.jit
def _keys(step, axis_h, axis_w, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, TILE: tl.constexpr,
          BLOCK_K: tl.constexpr):
    """Ranks of the keys of one step along both axes, and which of them exist."""
    REGION_W: tl.constexpr = TILE + KERNEL_W - 1
    index = step + tl.arange(0, BLOCK_K)
    key_h = axis_h[2] + index // REGION_W
    key_w = axis_w[2] + index % REGION_W
    exists = (index < (TILE + KERNEL_H - 1) * REGION_W) & (key_h < axis_h[1]) & (key_w < axis_w[1])
    return key_h, key_w, exists


@triton.jit
def _scores(queries, keys, bias, scale, num_heads, axis_h, axis_w, key_h, key_w, exists, KERNEL_H: tl.constexpr,
            KERNEL_W: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr):
    """Scores (queries x keys), -inf outside the windows, and places in the windows (h, w), with what is inside."""
    window_h = key_h[None, :] - axis_h[4][:, None]
    window_w = key_w[None, :] - axis_w[4][:, None]
    inside = ((window_h >= 0) & (window_h < KERNEL_H) & (window_w >= 0) & (window_w < KERNEL_W) & exists[None, :])
    scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
    if HAS_BIAS:
        row = key_h[None, :] - axis_h[3][:, None] + KERNEL_H - 1
        column = key_w[None, :] - axis_w[3][:, None] + KERNEL_W - 1
        head = tl.program_id(1) % num_heads
        entry = (head * (2 * KERNEL_H - 1) + row) * (2 * KERNEL_W - 1) + column
        scores += tl.load(bias + entry, mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, scores, float('-inf')), window_h * KERNEL_W + window_w, inside


@triton.jit
def _forward_kernel(query, key, value, bias, out, logsumexp, scale, height, width, num_heads, head_dim, dilation_h,
                    dilation_w, tiles_h, tiles_w, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, TILE: tl.constexpr,
                    BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr):
    axis_h, axis_w = _tile(height, width, dilation_h, dilation_w, tiles_h, tiles_w, KERNEL_H, KERNEL_W, TILE)
    is_query = (axis_h[3] < axis_h[1]) & (axis_w[3] < axis_w[1])
    place = _place(axis_h[3], axis_w[3], axis_h[0], axis_w[0], height, width, num_heads, dilation_h, dilation_w)
    channels = tl.arange(0, BLOCK_D)
    is_entry = is_query[:, None] & (channels < head_dim)[None, :]
    offsets = place[:, None] * head_dim + channels[None, :]
    queries = tl.load(query + offsets, mask=is_entry, other=0.0)
    largest = tl.full((TILE * TILE,), float('-inf'), dtype=tl.float32)
    total = tl.zeros((TILE * TILE,), dtype=tl.float32)
    result = tl.zeros((TILE * TILE, BLOCK_D), dtype=tl.float32)
    for step in range(0, (TILE + KERNEL_H - 1) * (TILE + KERNEL_W - 1), BLOCK_K):
        key_h, key_w, exists = _keys(step, axis_h, axis_w, KERNEL_H, KERNEL_W, TILE, BLOCK_K)
        key_place = _place(key_h, key_w, axis_h[0], axis_w[0], height, width, num_heads, dilation_h, dilation_w)
        key_offsets = key_place[:, None] * head_dim + channels[None, :]
        readable = exists[:, None] & (channels < head_dim)[None, :]
        keys = tl.load(key + key_offsets, mask=readable, other=0.0)
        scores, _, _ = _scores(queries, keys, bias, scale, num_heads, axis_h, axis_w, key_h, key_w, exists, KERNEL_H,
                               KERNEL_W, HAS_BIAS, PRECISION)
        new_largest = tl.maximum(largest, tl.max(scores, axis=1))
        # a query may have met no key yet; -inf - -inf would be NaN
        finite = tl.where(new_largest == float('-inf'), 0.0, new_largest)
        weights = tl.exp(scores - finite[:, None])
        decay = tl.exp(largest - finite)
        total = total * decay + tl.sum(weights, axis=1)
        values = tl.load(value + key_offsets, mask=readable, other=0.0)
        result = result * decay[:, None] + tl.dot(weights.to(values.dtype), values, input_precision=PRECISION)
        largest = new_largest
    tl.store(out + offsets, (result / total[:, None]).to(out.dtype.element_ty), mask=is_entry)
    tl.store(logsumexp + place, largest + tl.log(total), mask=is_query)


@triton.jit
def _backward_kernel(grad, query, key, value, bias, logsumexp, delta, grad_query, grad_key, grad_value, grad_scores,
                     scale, height, width, num_heads, head_dim, dilation_h, dilation_w, tiles_h, tiles_w,
                     KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, TILE: tl.constexpr, BLOCK_K: tl.constexpr,
                     BLOCK_D: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr):
    axis_h, axis_w = _tile(height, width, dilation_h, dilation_w, tiles_h, tiles_w, KERNEL_H, KERNEL_W, TILE)
    is_query = (axis_h[3] < axis_h[1]) & (axis_w[3] < axis_w[1])
    place = _place(axis_h[3], axis_w[3], axis_h[0], axis_w[0], height, width, num_heads, dilation_h, dilation_w)
    channels = tl.arange(0, BLOCK_D)
    is_entry = is_query[:, None] & (channels < head_dim)[None, :]
    offsets = place[:, None] * head_dim + channels[None, :]
    queries = tl.load(query + offsets, mask=is_entry, other=0.0)
    grads = tl.load(grad + offsets, mask=is_entry, other=0.0)
    normaliser = tl.load(logsumexp + place, mask=is_query, other=0.0)
    mean = tl.load(delta + place, mask=is_query, other=0.0)
    grad_queries = tl.zeros((TILE * TILE, BLOCK_D), dtype=tl.float32)
    for step in range(0, (TILE + KERNEL_H - 1) * (TILE + KERNEL_W - 1), BLOCK_K):
        key_h, key_w, exists = _keys(step, axis_h, axis_w, KERNEL_H, KERNEL_W, TILE, BLOCK_K)
        key_place = _place(key_h, key_w, axis_h[0], axis_w[0], height, width, num_heads, dilation_h, dilation_w)
        key_offsets = key_place[:, None] * head_dim + channels[None, :]
        readable = exists[:, None] & (channels < head_dim)[None, :]
        keys = tl.load(key + key_offsets, mask=readable, other=0.0)
        values = tl.load(value + key_offsets, mask=readable, other=0.0)
        scores, cell, inside = _scores(queries, keys, bias, scale, num_heads, axis_h, axis_w, key_h, key_w, exists,
                                       KERNEL_H, KERNEL_W, HAS_BIAS, PRECISION)
        inside = inside & is_query[:, None]
        weights = tl.exp(tl.where(inside, scores, float('-inf')) - normaliser[:, None])
        grad_score = weights * (tl.dot(grads, tl.trans(values), input_precision=PRECISION) - mean[:, None])
        grad_queries += tl.dot(grad_score.to(keys.dtype), keys, input_precision=PRECISION) * scale
        grad_keys = tl.dot(tl.trans(grad_score).to(queries.dtype), queries, input_precision=PRECISION) * scale
        grad_values = tl.dot(tl.trans(weights).to(grads.dtype), grads, input_precision=PRECISION)
        tl.atomic_add(grad_key + key_offsets, grad_keys, mask=readable, sem='relaxed')
        tl.atomic_add(grad_value + key_offsets, grad_values, mask=readable, sem='relaxed')
        if HAS_BIAS:
            tl.store(grad_scores + place[:, None] * (KERNEL_H * KERNEL_W) + cell,
                     grad_score.to(grad_scores.dtype.element_ty), mask=inside)
    tl.store(grad_query + offsets, grad_queries.to(grad_query.dtype.element_ty), mask=is_entry)


def forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None,
            kernel_hw: tuple[int, int], dilation_hw: tuple[int, int],
            scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Result (B, H, W, heads, head_dim) in value's dtype, and the logsumexp of the scores (B, H, W, heads) in fp32.

    Arguments as for `neighborhood_attention`, checked there; fp32, fp16 or bf16, value as wide as query.
    """
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    out = torch.empty_like(value)
    logsumexp = torch.empty(query.shape[:4], dtype=torch.float32, device=query.device)
    grid, settings, blocks = _launch(query, kernel_hw, dilation_hw, bias)
    _forward_kernel[grid](query, key, value, query if bias is None else bias.contiguous(), out, logsumexp, scale,
                          *settings, **blocks, num_warps=FORWARD_WARPS)
    return out, logsumexp


def backward(grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
             bias: torch.Tensor | None, out: torch.Tensor, logsumexp: torch.Tensor, kernel_hw: tuple[int, int],
             dilation_hw: tuple[int, int], scale: float) -> tuple[torch.Tensor, ...]:
    """Gradients of query, key, value and bias (None without one), each in its tensor's dtype."""
    grad, query, key, value = grad.contiguous(), query.contiguous(), key.contiguous(), value.contiguous()
    delta = (grad.float() * out.float()).sum(-1)
    grad_query = torch.empty_like(query)
    grad_key, grad_value = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (key, value))
    size = kernel_hw[0] * kernel_hw[1] if bias is not None else 0
    grad_scores = torch.empty(*query.shape[:4], size, dtype=query.dtype, device=query.device)
    grid, settings, blocks = _launch(query, kernel_hw, dilation_hw, bias)
    _backward_kernel[grid](grad, query, key, value, query if bias is None else bias.contiguous(), logsumexp, delta,
                           grad_query, grad_key, grad_value, grad_scores, scale, *settings, **blocks,
                           num_warps=BACKWARD_WARPS)
    grad_bias = None
    if bias is not None:
        grad_bias = _sum_by_place(grad_scores.unflatten(-1, kernel_hw), kernel_hw, dilation_hw).to(bias.dtype)
    return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), grad_bias


def _sum_by_place(grad_scores: torch.Tensor, kernel_hw: tuple[int, int], dilation_hw: tuple[int, int]) -> torch.Tensor:
    """(B, H, W, heads, kh, kw) -> (heads, 2 kh - 1, 2 kw - 1).

    Along an axis the entry of the bias is (place in the window) + (shift of the window), and a window has only
    kernel_size different shifts: sum over the queries of equal shift first, and spread what is left.
    """
    total = grad_scores.sum(0, dtype=torch.float32)  # (H, W, heads, kh, kw)
    for axis in (0, 1):
        length, kernel = total.shape[axis], kernel_hw[axis]
        # the entry of the bias that belongs to the first key of the window of each token
        shift = window_tables(length, kernel, dilation_hw[axis], total.device)[1][:, 0]
        shape = list(total.shape)
        shape[axis] = kernel
        total = total.new_zeros(shape).index_add_(axis, shift, total)
    spread = total.new_zeros(total.shape[2], 2 * kernel_hw[0] - 1, 2 * kernel_hw[1] - 1)
    for shift_h in range(kernel_hw[0]):
        for shift_w in range(kernel_hw[1]):
            spread[:, shift_h:shift_h + kernel_hw[0], shift_w:shift_w + kernel_hw[1]] += total[shift_h, shift_w]
    return spread


def _launch(query, kernel_hw, dilation_hw, bias):
    """Grid, runtime settings and compile-time settings of both kernels."""
    batch, height, width, num_heads, head_dim = query.shape
    tiles = [triton.cdiv(triton.cdiv(length, dilation), TILE)
             for length, dilation in zip((height, width), dilation_hw, strict=True)]
    grid = (dilation_hw[0] * tiles[0] * dilation_hw[1] * tiles[1], batch * num_heads)
    exact = query.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
    blocks = dict(KERNEL_H=kernel_hw[0], KERNEL_W=kernel_hw[1], TILE=TILE, BLOCK_K=KEYS_PER_STEP,
                  BLOCK_D=max(16, triton.next_power_of_2(head_dim)), HAS_BIAS=bias is not None,
                  PRECISION='ieee' if exact else 'tf32')
    return grid, (height, width, num_heads, head_dim, *dilation_hw, *tiles), blocks
