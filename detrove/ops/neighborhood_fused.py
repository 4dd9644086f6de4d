"""Neighborhood attention by the Triton kernels of `neighborhood_triton`: when they apply, and as operators of torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .triton_support import triton_refusal

LARGEST_HEAD = 128  # a tile of queries with its sums has to fit into registers


def fused_refusal(query: torch.Tensor, value: torch.Tensor) -> str | None:
    """Why the kernels do not serve this call, or None where they do."""
    refusal = triton_refusal(query)
    if refusal is None and (value.shape[-1] != query.shape[-1] or query.shape[-1] > LARGEST_HEAD):
        return f'head sizes {query.shape[-1]} and {value.shape[-1]}'
    return refusal


@torch.library.custom_op('detrove::fused_neighborhood_attention', mutates_args=())
def fused_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    kernel_hw: Sequence[int],
    dilation_hw: Sequence[int],
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Result of `neighborhood_attention` for checked arguments, and the logsumexp of the scores."""
    from . import neighborhood_triton

    return neighborhood_triton.forward(query, key, value, bias, tuple(kernel_hw), tuple(dilation_hw), scale)


@fused_attention.register_fake
def _(query, key, value, bias, kernel_hw, dilation_hw, scale):
    return value.new_empty(value.shape), query.new_empty(query.shape[:4], dtype=torch.float32)


@torch.library.custom_op('detrove::fused_neighborhood_attention_backward', mutates_args=())
def fused_attention_backward(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    kernel_hw: Sequence[int],
    dilation_hw: Sequence[int],
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key, value and bias (a placeholder where there is none)."""
    from . import neighborhood_triton

    *grads, grad_bias = neighborhood_triton.backward(
        grad, query, key, value, bias, out, logsumexp, tuple(kernel_hw), tuple(dilation_hw), scale
    )
    return *grads, grad.new_zeros(()) if grad_bias is None else grad_bias


@fused_attention_backward.register_fake
def _(grad, query, key, value, bias, out, logsumexp, kernel_hw, dilation_hw, scale):
    grad_bias = grad.new_empty(()) if bias is None else bias.new_empty(bias.shape)
    return *(x.new_empty(x.shape) for x in (query, key, value)), grad_bias


def _setup_context(ctx, inputs, output):
    query, key, value, bias, ctx.kernel_hw, ctx.dilation_hw, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, bias, *output)


def _backward(ctx, grad, _):
    query, key, value, bias, out, logsumexp = ctx.saved_tensors
    grad_query, grad_key, grad_value, grad_bias = fused_attention_backward(
        grad, query, key, value, bias, out, logsumexp, ctx.kernel_hw, ctx.dilation_hw, ctx.scale
    )
    return grad_query, grad_key, grad_value, None if bias is None else grad_bias, None, None, None


fused_attention.register_autograd(_backward, setup_context=_setup_context)
