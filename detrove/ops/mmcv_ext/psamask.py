"""PSAMask (PSANet, ECCV 2018): attention predicted in relative positions, laid out over absolute ones.

Each pixel predicts one value per place of a mask centred on it. 'collect' (0) gives output[n, target, pixel],
'distribute' (1) output[n, pixel, target]; places outside the map are dropped, targets outside the mask are
zero.
"""

import torch


def psamask_forward(input, output, psa_type, num_, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask):
    """Fill output (N, H * W, H, W) from input (N, h_mask * w_mask, H, W)."""
    size = h_feature * w_feature
    place, is_inside = _relative(
        (h_feature, w_feature), (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask), input.device
    )
    by_target = input.flatten(2).gather(1, place.expand(num_, -1, -1)) * is_inside
    output.copy_((by_target if psa_type == 0 else by_target.mT).reshape(num_, size, h_feature, w_feature))


def psamask_backward(
    grad_output, grad_input, psa_type, num_, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask
):
    """Fill grad_input (N, h_mask * w_mask, H, W); a gather, too: every value went to one place at most."""
    by_target = grad_output.flatten(2)
    if psa_type == 1:
        by_target = by_target.mT
    target, is_inside = _relative(
        (h_mask, w_mask),
        (h_feature, w_feature),
        (h_feature, w_feature),
        (-half_h_mask, -half_w_mask),
        grad_output.device,
        sign=1,
    )
    grad_input.copy_((by_target.gather(1, target.expand(num_, -1, -1)) * is_inside).view_as(grad_input))


def _relative(outer_hw, pixel_hw, inner_hw, half_hw, device, sign=-1):
    """Where outer place o, seen from pixel p, lies in the inner grid: o + sign * p + half, per axis.

    Returns the flat inner index (1, outer, pixels), clamped, and whether it lies inside, (outer, pixels).
    """
    index, is_inside = 0, True
    for axis in range(2):
        outer = torch.arange(outer_hw[axis], device=device)
        pixel = torch.arange(pixel_hw[axis], device=device)
        inner = outer[:, None] + sign * pixel + half_hw[axis]
        # (outer, pixels) of one axis -> (outer_h, outer_w, pixel_h, pixel_w) by broadcasting
        inner = inner[:, None, :, None] if axis == 0 else inner[None, :, None, :]
        is_inside = is_inside & (inner >= 0) & (inner < inner_hw[axis])
        index = index * inner_hw[axis] + inner.clamp(0, inner_hw[axis] - 1)
    outer, pixels = outer_hw[0] * outer_hw[1], pixel_hw[0] * pixel_hw[1]
    return index.reshape(1, outer, pixels), is_inside.reshape(outer, pixels)
