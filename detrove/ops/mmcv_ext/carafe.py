"""CARAFE (arXiv:1905.02188): every output pixel is a predicted kernel applied to the neighbourhood it grew
from.

Writes features as (N, groups, C / groups, k * k, H, W): k * k times their memory, for the length of the call.
"""

import torch
import torch.nn.functional as F

from .precision import full_precision

# n image, g group, c channel, k tap, (h, w) input pixel, (a, b) place of an output pixel within its input
# pixel
FORWARD = 'ngckhw,ngkhawb->ngchawb'
TO_FEATURES = 'ngchawb,ngkhawb->ngckhw'
TO_MASKS = 'ngchawb,ngckhw->ngkhawb'


def carafe_forward(features, masks, rfeatures, routput, rmasks, output, kernel_size, group_size, scale_factor):
    """Fill output (N, C, H * s, W * s), and rfeatures with features, which is what the backward is handed."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad,
    rfeatures,
    masks,
    rtop_grad,
    rbottom_grad_hs,
    rbottom_grad,
    rmask_grad,
    bottom_grad,
    mask_grad,
    kernel_size,
    group_size,
    scale_factor,
):
    """Fill bottom_grad (N, C, H, W) and mask_grad (N, groups * k * k, H * s, W * s)."""
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor)


def carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor):
    """Fill output (N, C, H * s, W * s)."""
    features, masks = full_precision(features, masks)
    with torch.autocast(features.device.type, enabled=False):
        output.copy_(
            torch.einsum(
                FORWARD,
                _neighbourhoods(features, kernel_size, group_size),
                _by_input_pixel(masks, features, group_size),
            ).reshape(output.shape)
        )


def carafe_naive_backward(
    top_grad, bottom_data, bottom_masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor
):
    """Fill bottom_grad (N, C, H, W) and mask_grad (N, groups * k * k, H * s, W * s)."""
    grad, features, masks = full_precision(top_grad, bottom_data, bottom_masks)
    with torch.autocast(features.device.type, enabled=False):
        grad = _by_input_pixel(grad, features, group_size)
        neighbourhoods = _neighbourhoods(features, kernel_size, group_size)
        mask_grad.copy_(torch.einsum(TO_MASKS, grad, neighbourhoods).reshape(mask_grad.shape))
        columns = torch.einsum(TO_FEATURES, grad, _by_input_pixel(masks, features, group_size))
        bottom_grad.copy_(
            F.fold(
                columns.reshape(features.shape[0], -1, features.shape[2] * features.shape[3]),
                features.shape[2:],
                kernel_size,
                padding=(kernel_size - 1) // 2,
            )
        )


def _neighbourhoods(features, kernel_size, groups):
    """(N, C, H, W) -> (N, groups, C / groups, k * k, H, W), zero outside the map."""
    columns = F.unfold(features, kernel_size, padding=(kernel_size - 1) // 2)
    return columns.view(features.shape[0], groups, features.shape[1] // groups, -1, *features.shape[2:])


def _by_input_pixel(upsampled, features, groups):
    """(N, groups * X, H * s, W * s) -> (N, groups, X, H, s, W, s)."""
    height, width = features.shape[2:]
    return upsampled.reshape(
        upsampled.shape[0], groups, -1, height, upsampled.shape[2] // height, width, upsampled.shape[3] // width
    )
