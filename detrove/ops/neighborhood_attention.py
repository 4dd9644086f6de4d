"""Neighborhood attention (NAT, arXiv:2204.07143; DiNAT, arXiv:2209.15001) with relative position bias.

`neighborhood_attention` is what layers call. `neighborhood_attention_reference` says the same thing by gathering the
window of every query, and is the form that exporters see. Windows are those of NATTEN (SHI-Labs/NATTEN).
"""

from __future__ import annotations

import torch

from .export_form import is_exporting
from .neighborhood_fused import fused_attention, fused_refusal
from .neighborhood_natten import natten_attention, natten_refusal
from .neighborhood_tiles import tiled_attention


def neighborhood_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    relative_position_bias: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """Attend from every pixel to the kernel_size window around it.

    Along each axis with dilation d, pixel i belongs to the group of pixels of the same i % d and has rank i // d in
    it. Its window is the kernel_size ranks of its group around its own, shifted, not cut, where that would leave the
    group. Gradients are first-order only.

    On CUDA, NATTEN or Triton kernels compute it where they apply (`neighborhood_natten` and `neighborhood_fused` say
    where), and gradients may differ in their last bits from run to run. `torch.use_deterministic_algorithms(True)`
    takes the tiled path instead, whose results are equal from run to run, as on the CPU.

    Args:
        query, key: (B, H, W, heads, head_dim).
        value: (B, H, W, heads, value_dim).
        kernel_size: odd int, or (h, w).
        dilation: int or (h, w).
        relative_position_bias: (heads, 2 kh - 1, 2 kw - 1), added to the scaled scores; the entry
            (rank of key - rank of query + kernel_size - 1) of each axis.
        scale: of the products of query and key, by default head_dim ** -0.5.

    Returns:
        (B, H, W, heads, value_dim) in value's dtype. Softmax and sums are computed in fp32 (fp64 for fp64).

    Raises:
        ValueError: shapes that do not fit together, an even kernel_size, or a map smaller than
            kernel_size * dilation (padding it is the model's business).
    """
    kernel_hw, dilation_hw = _check(query, key, value, kernel_size, dilation, relative_position_bias)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if is_exporting() or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing():
        return _attend_by_gather(query, key, value, kernel_hw, dilation_hw, relative_position_bias, scale)
    if natten_refusal(query, value, kernel_hw, relative_position_bias) is None:
        return natten_attention(query, key, value, kernel_hw, dilation_hw, scale)
    if fused_refusal(query, value) is None:
        return fused_attention(query, key, value, relative_position_bias, kernel_hw, dilation_hw, scale)[0]
    return tiled_attention(query, key, value, relative_position_bias, kernel_hw, dilation_hw, scale)


def neighborhood_attention_reference(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    relative_position_bias: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """`neighborhood_attention` in plain PyTorch, readable and exportable: same arguments, result and errors."""
    kernel_hw, dilation_hw = _check(query, key, value, kernel_size, dilation, relative_position_bias)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return _attend_by_gather(query, key, value, kernel_hw, dilation_hw, relative_position_bias, scale)


def _attend_by_gather(query, key, value, kernel_hw, dilation_hw, bias, scale):
    batch, height, width, heads, _ = query.shape
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    rows, bias_rows = window_tables(height, kernel_hw[0], dilation_hw[0], query.device)
    columns, bias_columns = window_tables(width, kernel_hw[1], dilation_hw[1], query.device)
    window = (rows[:, None, :, None] * width + columns[None, :, None, :]).flatten()  # H, W, kh, kw
    query, keys, values = (x.to(dtype).flatten(1, 2).transpose(1, 2) for x in (query, key, value))
    keys, values = (x.index_select(2, window).unflatten(2, (height * width, -1)) for x in (keys, values))
    with torch.autocast(query.device.type, enabled=False):
        scores = (scale * query)[:, :, :, None] @ keys.mT
        if bias is not None:
            bias = bias.to(dtype)[:, bias_rows[:, None, :, None], bias_columns[None, :, None, :]]
            scores = scores + bias.reshape(heads, height * width, 1, -1)
        out = scores.softmax(-1) @ values
    return out.reshape(batch, heads, height, width, -1).permute(0, 2, 3, 1, 4).to(value.dtype)


def window_tables(length, kernel_size, dilation, device):
    """Of every query of an axis, both (length, kernel_size): the tokens in its window, their places in the bias."""
    token = torch.arange(length, device=device)
    residue, rank = token % dilation, token // dilation
    group_length = (length - residue + dilation - 1) // dilation
    start = (rank - kernel_size // 2).clamp(min=0).minimum(group_length - kernel_size)
    key_rank = start[:, None] + torch.arange(kernel_size, device=device)
    return key_rank * dilation + residue[:, None], key_rank - rank[:, None] + kernel_size - 1


def _check(query, key, value, kernel_size, dilation, bias):
    """((kh, kw), (dh, dw)), after checking everything."""
    kernel_hw, dilation_hw = _pair(kernel_size, 'kernel_size'), _pair(dilation, 'dilation')
    if any(k % 2 == 0 for k in kernel_hw):
        raise ValueError(f'neighborhood_attention: kernel_size={kernel_size}, expected odd numbers.')
    if query.dim() != 5 or key.shape != query.shape:
        raise ValueError(
            f'neighborhood_attention: query has shape {tuple(query.shape)} and key {tuple(key.shape)}, expected '
            '(B, H, W, heads, head_dim) for both.'
        )
    if value.dim() != 5 or value.shape[:4] != query.shape[:4]:
        raise ValueError(
            f'neighborhood_attention: value has shape {tuple(value.shape)}, expected '
            f'{(*query.shape[:4], "value_dim")} to fit query {tuple(query.shape)}.'
        )
    if not query.dtype == key.dtype == value.dtype:
        raise ValueError(
            f'neighborhood_attention: query, key and value are {query.dtype}, {key.dtype} and {value.dtype}, '
            'expected one dtype.'
        )
    for axis, name in enumerate(('height', 'width')):
        length, least = query.shape[1 + axis], kernel_hw[axis] * dilation_hw[axis]
        if length < least:
            raise ValueError(
                f'neighborhood_attention: the map has {name} {length}, but kernel_size {kernel_hw[axis]} with dilation '
                f'{dilation_hw[axis]} needs at least {least}. Pad the map, or lower the dilation.'
            )
    expected = (query.shape[3], 2 * kernel_hw[0] - 1, 2 * kernel_hw[1] - 1)
    if bias is not None and bias.shape != expected:
        raise ValueError(
            f'neighborhood_attention: relative_position_bias has shape {tuple(bias.shape)}, expected {expected} '
            f'(heads, 2 kh - 1, 2 kw - 1) for kernel_size={kernel_size}.'
        )
    return kernel_hw, dilation_hw


def _pair(number, name):
    pair = (number, number) if isinstance(number, int) else tuple(number)
    if len(pair) != 2 or any(not isinstance(n, int) or n < 1 for n in pair):
        raise ValueError(f'neighborhood_attention: {name}={number!r}, expected a positive int or (h, w).')
    return pair
