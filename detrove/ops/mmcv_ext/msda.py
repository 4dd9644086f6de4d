"""Multi-scale deformable attention behind mmcv's C signature, for code that calls the extension directly.

mmcv's own module is patched one level higher (detrove.compat.mmcv_msda), where locations are still fp32.
"""

import torch

from ..ms_deform_attn import ms_deform_attn


def ms_deform_attn_forward(
    value, spatial_shapes, level_start_index, sampling_locations, attention_weights, im2col_step
):
    """(B, Q, H * D); shapes as in `detrove.ops.ms_deform_attn`. Levels lie one after another in value."""
    return ms_deform_attn(value, spatial_shapes, sampling_locations, attention_weights)


def ms_deform_attn_backward(
    value,
    spatial_shapes,
    level_start_index,
    sampling_locations,
    attention_weights,
    grad_output,
    grad_value,
    grad_sampling_loc,
    grad_attn_weight,
    im2col_step,
):
    """Fill the three gradients."""
    inputs = [t.detach().requires_grad_() for t in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn(inputs[0], spatial_shapes, inputs[1], inputs[2])
    grads = torch.autograd.grad(output, inputs, grad_output)
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)
