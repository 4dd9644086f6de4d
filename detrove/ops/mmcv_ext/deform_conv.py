"""Deformable convolution v1 (arXiv:1703.06211) and v2 (arXiv:1811.11168) on torchvision's kernels.

Offsets are (B, groups * 2 * kernel, out_h, out_w), y before x. Two things differ between mmcv and
torchvision:

- A sampling position at exactly -1 contributes nothing. mmcv gives its offset no gradient, torchvision the
  slope on one side. Offsets start at zero, so this is what every padded border meets in the first step.
- mmcv's v2 kernel does not check the size of the offset map, and DyHead passes one made for a finer level:
  the kernel then reads the first values of each image's memory. Published weights are trained that way, so it
  is kept.
"""

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)

from .precision import full_precision


def deform_conv_forward(
    input,
    weight,
    offset,
    output,
    columns,
    ones,
    kW,
    kH,
    dW,
    dH,
    padW,
    padH,
    dilationW,
    dilationH,
    group,
    deformable_group,
    im2col_step,
):
    """Fill output (B, out_channels, out_h, out_w). im2col_step only bounds the memory of mmcv's kernel."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW)
    no_mask, no_bias = _absent(input, weight)
    output.copy_(_forward(input, weight, offset, no_mask, no_bias, geometry, group, deformable_group, False))


def deform_conv_backward_input(
    input,
    offset,
    gradOutput,
    gradInput,
    gradOffset,
    weight,
    columns,
    kW,
    kH,
    dW,
    dH,
    padW,
    padH,
    dilationW,
    dilationH,
    group,
    deformable_group,
    im2col_step,
):
    """Fill gradInput and gradOffset. torchvision computes all gradients at once; that of the weights waits in
    `columns`, which mmcv hands to both of its backward calls.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW)
    no_mask, no_bias = _absent(input, weight)
    grads = _backward(gradOutput, input, weight, offset, no_mask, no_bias, geometry, group, deformable_group, False)
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])
    columns.weight_gradient = (gradOutput, grads[1])


def deform_conv_backward_parameters(
    input,
    offset,
    gradOutput,
    gradWeight,
    columns,
    ones,
    kW,
    kH,
    dW,
    dH,
    padW,
    padH,
    dilationW,
    dilationH,
    group,
    deformable_group,
    scale,
    im2col_step,
):
    """Add scale times the gradient of the weights to gradWeight."""
    computed_for, grad_weight = getattr(columns, 'weight_gradient', (None, None))
    columns.weight_gradient = (None, None)
    if computed_for is not gradOutput:
        geometry = (dH, dW, padH, padW, dilationH, dilationW)
        weight = torch.zeros_like(gradWeight)  # its own values do not enter its gradient
        no_mask, no_bias = _absent(input, weight)
        grad_weight = _backward(
            gradOutput, input, weight, offset, no_mask, no_bias, geometry, group, deformable_group, False
        )[1]
    gradWeight.add_(grad_weight.to(gradWeight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input,
    weight,
    bias,
    ones,
    offset,
    mask,
    output,
    columns,
    kernel_h,
    kernel_w,
    stride_h,
    stride_w,
    pad_h,
    pad_w,
    dilation_h,
    dilation_w,
    group,
    deformable_group,
    with_bias,
):
    """Fill output (B, out_channels, out_h, out_w)."""
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w)
    bias = bias if with_bias else bias.new_zeros(weight.shape[0])
    offset, mask = (_as_read_by_mmcv(t, output.shape[2:]) for t in (offset, mask))
    output.copy_(_forward(input, weight, offset, mask, bias, geometry, group, deformable_group, True))


def modulated_deform_conv_backward(
    input,
    weight,
    bias,
    ones,
    offset,
    mask,
    columns,
    grad_input,
    grad_weight,
    grad_bias,
    grad_offset,
    grad_mask,
    grad_output,
    kernel_h,
    kernel_w,
    stride_h,
    stride_w,
    pad_h,
    pad_w,
    dilation_h,
    dilation_w,
    group,
    deformable_group,
    with_bias,
):
    """Fill the five gradients."""
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w)
    output_hw = grad_output.shape[2:]
    grads = _backward(
        grad_output,
        input,
        weight,
        _as_read_by_mmcv(offset, output_hw),
        _as_read_by_mmcv(mask, output_hw),
        bias if with_bias else bias.new_zeros(weight.shape[0]),
        geometry,
        group,
        deformable_group,
        True,
    )
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    _write_as_mmcv(grad_offset, grads[2])
    _write_as_mmcv(grad_mask, grads[3])
    if with_bias:
        grad_bias.copy_(grads[4])


def _forward(input, weight, offset, mask, bias, geometry, group, deformable_group, use_mask):
    input, weight, offset, mask, bias = full_precision(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(
        input, weight, offset, mask, bias, *geometry, group, deformable_group, use_mask
    )


def _backward(grad, input, weight, offset, mask, bias, geometry, group, deformable_group, use_mask):
    grad, input, weight, offset, mask, bias = full_precision(grad, input, weight, offset, mask, bias)
    grads = list(
        torch.ops.torchvision._deform_conv2d_backward(
            grad, input, weight, offset, mask, bias, *geometry, group, deformable_group, use_mask
        )
    )
    grads[2] = _zero_outside(grads[2], offset, input.shape[2:], weight.shape[2:], geometry)
    return grads


def _absent(input, weight):
    """Mask and bias of zeros, for kernels that ask for both."""
    return input.new_zeros((input.shape[0], 1)), input.new_zeros(weight.shape[0])


def _zero_outside(grad_offset, offset, input_hw, kernel_hw, geometry):
    """The offset gradient with zeros where the sampling position does not lie strictly inside (-1, size)."""
    stride, padding, dilation = geometry[:2], geometry[2:4], geometry[4:]
    output_hw = offset.shape[2:]
    by_tap = offset.view(offset.shape[0], -1, *kernel_hw, 2, *output_hw)
    is_inside = torch.ones_like(by_tap[:, :, :, :, 0], dtype=torch.bool)
    for axis in range(2):
        tap = torch.arange(kernel_hw[axis], device=offset.device) * dilation[axis] - padding[axis]
        cell = torch.arange(output_hw[axis], device=offset.device) * stride[axis]
        tap_shape, cell_shape = [1, 1, 1, 1], [1, 1, 1, 1]
        tap_shape[axis], cell_shape[2 + axis] = -1, -1
        position = by_tap[:, :, :, :, axis] + (tap.view(tap_shape) + cell.view(cell_shape))
        is_inside &= (position > -1) & (position < input_hw[axis])
    return (grad_offset.view_as(by_tap) * is_inside[:, :, :, :, None]).view_as(grad_offset)


def _as_read_by_mmcv(offsets, output_hw):
    if offsets.shape[2:] == output_hw:
        return offsets
    channels, num_values = offsets.shape[1], output_hw.numel() * offsets.shape[1]
    if offsets[0].numel() < num_values:
        raise ValueError(
            f'modulated_deform_conv: offset or mask {tuple(offsets.shape)} is smaller than the output needs: '
            f'{channels} x {output_hw[0]} x {output_hw[1]}.'
        )
    return offsets.flatten(1)[:, :num_values].unflatten(1, (channels, *output_hw))


def _write_as_mmcv(target, grad):
    if target.shape == grad.shape:
        target.copy_(grad)
    else:
        target.zero_().view(target.shape[0], -1)[:, : grad[0].numel()] = grad.flatten(1)
