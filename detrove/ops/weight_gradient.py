"""Gradients of convolution kernels on CPUs, for maps that lie channels last, as products of matrices."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from .layout import padded_maps

_CHUNK = 2**19  # numbers that are unfolded at once, which so stay in the caches


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int],
                    dilation: tuple[int, int]) -> Tensor:
    """Gradient of the weight of `torch.nn.functional.conv2d` with one group.

    Each pixel of the output saw a window of the input: the gradient is the product of output gradients and windows,
    both with one row per pixel. Windows are laid side by side for some rows of pixels at a time. That takes half the
    time of PyTorch's CPU backend, which is slower still if maps lie channels last.

    Args:
        grad: of the output, (B, O, h, w), float32 or float64 on the CPU, best channels last.
        x: input, (B, C, H, W), of the same type, best channels last.
        weight: (O, C, kernel height, kernel width); only its shape is read.
        stride, padding, dilation: of rows and columns, numbers of pixels.

    Returns:
        (O, C, kernel height, kernel width), channels last.
    """
    outputs, inputs, *kernel = weight.shape
    of_kernels = x.new_zeros(outputs, kernel[0] * kernel[1] * inputs)
    for image, rows, windows in _windows(x, grad.shape[2:], kernel, stride, padding, dilation):
        pixels = grad[image, :, rows].permute(1, 2, 0).reshape(-1, outputs)
        of_kernels.addmm_(pixels.t(), windows)
    return of_kernels.view(outputs, *kernel, inputs).permute(0, 3, 1, 2)


def _windows(x: Tensor, output_hw, kernel, stride, padding, dilation) -> Iterator[tuple[int, slice, Tensor]]:
    """Image, rows of its output, and the windows of their pixels: (pixels, kernel height * width * C)."""
    batch, channels, height, width = x.shape
    padded = x.permute(0, 2, 3, 1)
    if any(padding):
        padded = padded_maps(padded, (height + 2 * padding[0], width + 2 * padding[1]), padding)
    of_image, of_row, of_column, of_channel = padded.stride()
    strides = (stride[0] * of_row, stride[1] * of_column, dilation[0] * of_row, dilation[1] * of_column, of_channel)
    length = kernel[0] * kernel[1] * channels
    rows_at_once = min(output_hw[0], max(1, _CHUNK // (output_hw[1] * length)))
    space = x.new_empty(rows_at_once * output_hw[1] * length)
    for image in range(batch):
        for start in range(0, output_hw[0], rows_at_once):
            rows = slice(start, min(start + rows_at_once, output_hw[0]))
            shape = (rows.stop - start, output_hw[1], *kernel, channels)
            offset = padded.storage_offset() + image * of_image + start * strides[0]
            source = padded.as_strided(shape, strides, offset)
            yield image, rows, space[:source.numel()].view(shape).copy_(source).view(-1, length)
