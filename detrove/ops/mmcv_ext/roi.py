"""Pooling of regions: RoIAlign (average and maximum), RoIPool, deformable RoIPool. rois are (R, 5).

A roi is (image, x1, y1, x2, y2). RoIAlign's average is torchvision's. The others read a fixed number of
positions per output cell: as many as the largest region needs, with those that a smaller one does not have
left out. Where that number depends on the boxes (sampling_ratio 0, RoIPool) it is read back to the host, once
per call.
"""

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)

from ..determinism import adds_in_any_order
from ..weighted_rows import grad_table, sum_rows
from .precision import full_precision

MAX_POOL, AVG_POOL = 0, 1
SLICE_ELEMENTS = 2**24  # samples of all channels held at a time by the maximum


def roi_align_forward(
    input,
    rois,
    output,
    argmax_y,
    argmax_x,
    aligned_height,
    aligned_width,
    spatial_scale,
    sampling_ratio,
    pool_mode,
    aligned,
):
    """Fill output (R, C, h, w); for the maximum also the position that each value was read at."""
    input, rois = full_precision(input, rois)
    if pool_mode == AVG_POOL:
        output.copy_(
            torch.ops.torchvision.roi_align(
                input, rois.to(input.dtype), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
            )
        )
        return
    y, x, is_used = _sample_positions(
        rois,
        (aligned_height, aligned_width),
        spatial_scale,
        sampling_ratio,
        0.5 if aligned else 0.0,
        min_size=None if aligned else 1.0,
    )
    rows, weights, _ = _corners(y, x, rois, input)
    maximum, best = _max_over_samples(_as_rows(input), rows, weights, is_used)
    output.copy_(maximum)
    for argmax, position in ((argmax_y, y), (argmax_x, x)):
        found = position.unsqueeze(1).expand(*best.shape, -1).gather(-1, best.clamp(min=0).unsqueeze(-1))[..., 0]
        argmax.copy_(torch.where(best < 0, -1, found))


def roi_align_backward(
    grad_output,
    rois,
    argmax_y,
    argmax_x,
    grad_input,
    aligned_height,
    aligned_width,
    spatial_scale,
    sampling_ratio,
    pool_mode,
    aligned,
):
    """Fill grad_input (N, C, H, W)."""
    grad_output, rois = full_precision(grad_output, rois)
    if pool_mode == AVG_POOL and adds_in_any_order(grad_output):
        sampling = (aligned_height, aligned_width), spatial_scale, sampling_ratio, 0.5 if aligned else 0.0
        positions = _sample_positions(rois, *sampling, min_size=None if aligned else 1.0)
        rows, weights, _ = _averaged_corners(*positions, rois, grad_input.to(grad_output.dtype))
        grad_input.copy_(_grad_of_rows(grad_output, rows, weights, grad_input.shape))
        return
    if pool_mode == AVG_POOL:
        grad_input.copy_(
            torch.ops.torchvision._roi_align_backward(
                grad_output,
                rois.to(grad_output.dtype),
                spatial_scale,
                aligned_height,
                aligned_width,
                *grad_input.shape,
                sampling_ratio,
                aligned,
            )
        )
        return
    y, x = full_precision(argmax_y, argmax_x)
    channels, height, width = grad_input.shape[1:]
    cells, weights, _ = _bilinear(y, x, height, width)
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    index = cells + plane[:, :, None, None, None] * (height * width)
    grad = grad_output[..., None] * weights * (y != -1)[..., None]
    total = torch.zeros(grad_input.numel(), dtype=grad.dtype, device=grad.device)
    grad_input.copy_(total.index_add_(0, index.flatten(), grad.flatten()).view_as(grad_input))


def roi_pool_forward(input, rois, output, argmax, pooled_height, pooled_width, spatial_scale):
    """Fill output (R, C, h, w) with the maximum of each cell's pixels and argmax with its place y * W + x, or
    -1.

    Cells are floor to ceil of the exact division (torchvision's roi_pool rounds the box first). A region
    without area gives 0 and, unlike in mmcv, -1: mmcv leaves 0 there, and so sends its gradient to the first
    pixel.
    """
    input, rois = full_precision(input, rois)
    height, width = input.shape[2:]
    top, bottom = _pool_bins(rois[:, 2], rois[:, 4], pooled_height, spatial_scale, height)
    left, right = _pool_bins(rois[:, 1], rois[:, 3], pooled_width, spatial_scale, width)
    has_area = ((rois[:, 3:] + 1 - rois[:, 1:3]) > 0).all(1)
    sizes = torch.stack(((bottom - top).amax(), (right - left).amax())) if len(rois) else torch.zeros(2)
    max_height, max_width = (max(1, n) for n in sizes.int().tolist())
    y = top[:, :, None] + torch.arange(max_height, device=rois.device)
    x = left[:, :, None] + torch.arange(max_width, device=rois.device)
    is_used = _grid(y < bottom[:, :, None], x < right[:, :, None], torch.logical_and)
    is_used = is_used & has_area[:, None, None, None]
    pixel = _grid(y.clamp(max=height - 1) * width, x.clamp(max=width - 1), torch.add)
    rows = pixel + _first_row(rois, height, width)
    weights = torch.ones_like(rows, dtype=input.dtype)
    maximum, best = _max_over_samples(_as_rows(input), rows[..., None], weights[..., None], is_used)
    output.copy_(torch.where(best < 0, 0, maximum))
    place = pixel.unsqueeze(1).expand(*best.shape, -1).gather(-1, best.clamp(min=0).unsqueeze(-1))[..., 0]
    argmax.copy_(torch.where(best < 0, -1, place))


def roi_pool_backward(grad_output, rois, argmax, grad_input, pooled_height, pooled_width, spatial_scale):
    """Fill grad_input (N, C, H, W)."""
    grad_output, rois = full_precision(grad_output, rois)
    channels, height, width = grad_input.shape[1:]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    index = argmax.long().clamp(min=0) + plane[:, :, None, None] * (height * width)
    grad = grad_output * (argmax >= 0)
    total = torch.zeros(grad_input.numel(), dtype=grad.dtype, device=grad.device)
    grad_input.copy_(total.index_add_(0, index.flatten(), grad.flatten()).view_as(grad_input))


def deform_roi_pool_forward(
    input, rois, offset, output, pooled_height, pooled_width, spatial_scale, sampling_ratio, gamma
):
    """Fill output (R, C, h, w) with the averages of cells shifted by gamma * region size * offset.

    offset is (R, 2, h, w), x before y, or empty.
    """
    input, rois, offset = full_precision(input, rois, offset)
    rows, weights, _, _ = _deform_samples(
        input, rois, offset, (pooled_height, pooled_width), spatial_scale, sampling_ratio, gamma
    )
    pooled = sum_rows(_as_rows(input), rows, weights)
    output.copy_(pooled.view(len(rois), pooled_height, pooled_width, input.shape[1]).permute(0, 3, 1, 2))


def deform_roi_pool_backward(
    grad_output,
    input,
    rois,
    offset,
    grad_input,
    grad_offset,
    pooled_height,
    pooled_width,
    spatial_scale,
    sampling_ratio,
    gamma,
):
    """Fill grad_input and, where there is an offset, grad_offset.

    The slope to the offset is that of the four cells around a position, also within half a cell outside the
    map,
    where the sampled value no longer changes: mmcv's kernel does so.
    """
    grad_output, input, rois, offset = full_precision(grad_output, input, rois, offset)
    rows, weights, slopes, is_used = _deform_samples(
        input, rois, offset, (pooled_height, pooled_width), spatial_scale, sampling_ratio, gamma
    )
    grad_input.copy_(_grad_of_rows(grad_output, rows, weights, input.shape))
    if offset.numel() == 0:
        return
    grad = grad_output.permute(0, 2, 3, 1).reshape(-1, input.shape[1])
    share = is_used / is_used.sum(-1, keepdim=True).clamp(min=1)
    size = gamma * spatial_scale * (rois[:, 3:] - rois[:, 1:3])
    for axis, slope in enumerate(slopes):
        mean_slope = sum_rows(_as_rows(input), rows, (slope * share[..., None]).view(rows.shape).to(grad.dtype))
        total = (mean_slope * grad).sum(-1).view(len(rois), pooled_height, pooled_width)
        grad_offset[:, axis] = (total * size[:, axis, None, None]).to(grad_offset.dtype)


def _deform_samples(input, rois, offset, output_hw, spatial_scale, sampling_ratio, gamma):
    y, x, is_used = _sample_positions(rois, output_hw, spatial_scale, sampling_ratio, 0.5, min_size=None)
    if offset.numel():
        size = gamma * spatial_scale * (rois[:, 3:] - rois[:, 1:3])
        x = x + (offset[:, 0] * size[:, 0, None, None])[..., None]
        y = y + (offset[:, 1] * size[:, 1, None, None])[..., None]
    rows, weights, slopes = _averaged_corners(y, x, is_used, rois, input)
    return rows, weights, slopes, is_used


def _averaged_corners(y, x, is_used, rois, input):
    """Rows and weights (cells, samples * corners) of the average of each output cell's samples, and slopes."""
    rows, weights, slopes = _corners(y, x, rois, input)
    count = is_used.sum(-1, keepdim=True).clamp(min=1)
    weights = weights * is_used[..., None] / count[..., None]
    return rows.flatten(3).flatten(0, 2), weights.flatten(3).flatten(0, 2), slopes


def _grad_of_rows(grad_output, rows, weights, input_shape):
    """Gradient (N, C, H, W) to the map whose rows were summed to the (R, C, h, w) of `grad_output`."""
    num, channels, height, width = input_shape
    grad = grad_output.permute(0, 2, 3, 1).reshape(-1, channels)
    grad_rows = grad_table(grad, rows, weights, num * height * width)
    return grad_rows.view(num, height, width, channels).permute(0, 3, 1, 2)


def _sample_positions(rois, output_hw, spatial_scale, sampling_ratio, shift, min_size):
    """y, x and whether the cell has that sample, each (R, h, w, samples), samples line by line."""
    start = rois[:, 1:3] * spatial_scale - shift
    size = rois[:, 3:] * spatial_scale - shift - start
    if min_size:
        size = size.clamp(min=min_size)
    bins = size / torch.tensor(output_hw[::-1], dtype=size.dtype, device=size.device)
    if sampling_ratio > 0:
        counts, most = torch.full_like(bins, sampling_ratio), (sampling_ratio, sampling_ratio)
    else:
        counts = bins.ceil().clamp(min=0)
        most = [max(1, int(n)) for n in counts.amax(0).tolist()] if len(rois) else (1, 1)

    def along(axis, num_bins):
        sample = torch.arange(most[axis], device=rois.device, dtype=rois.dtype)
        in_bin = (sample + 0.5) * (bins[:, axis, None] / counts[:, axis, None].clamp(min=1))
        first = start[:, axis, None] + torch.arange(num_bins, device=rois.device) * bins[:, axis, None]
        is_used = (sample < counts[:, axis, None])[:, None].expand(-1, num_bins, -1)
        return first[:, :, None] + in_bin[:, None], is_used

    (x, x_used), (y, y_used) = along(0, output_hw[1]), along(1, output_hw[0])
    return (
        _grid(y, torch.zeros_like(x), torch.add),
        _grid(torch.zeros_like(y), x, torch.add),
        _grid(y_used, x_used, torch.logical_and),
    )


def _grid(vertical, horizontal, combine):
    """(R, h, m) and (R, w, n) -> (R, h, w, m * n)."""
    return combine(vertical[:, :, None, :, None], horizontal[:, None, :, None, :]).flatten(3)


def _bilinear(y, x, height, width):
    """Pixel y * W + x, weight and slopes by x and y of the four pixels around each position, each (..., 4).

    A position up to one pixel outside is moved onto the border; farther out it counts as 0.
    """
    is_inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y_low, x_low = (t.clamp(min=0).clamp(max=n - 1).floor() for t, n in ((y, height), (x, width)))
    y_high, x_high = (y_low + 1).clamp(max=height - 1), (x_low + 1).clamp(max=width - 1)
    ly = y.clamp(min=0).clamp(max=height - 1) - y_low
    lx = x.clamp(min=0).clamp(max=width - 1) - x_low
    cells = torch.stack(
        (y_low * width + x_low, y_low * width + x_high, y_high * width + x_low, y_high * width + x_high), -1
    ).long()
    weights = torch.stack(((1 - ly) * (1 - lx), (1 - ly) * lx, ly * (1 - lx), ly * lx), -1) * is_inside[..., None]
    slope_x = torch.stack((y - y_high, y_high - y, y_low - y, y - y_low), -1) * is_inside[..., None]
    slope_y = torch.stack((x - x_high, x_low - x, x_high - x, x - x_low), -1) * is_inside[..., None]
    return cells, weights, (slope_x, slope_y)


def _corners(y, x, rois, input):
    """`_bilinear` with the pixels as rows of `_as_rows(input)`."""
    height, width = input.shape[2:]
    cells, weights, slopes = _bilinear(y, x, height, width)
    return cells + _first_row(rois, height, width).unsqueeze(-1), weights.to(input.dtype), slopes


def _first_row(rois, height, width):
    return (rois[:, 0].long() * (height * width))[:, None, None, None]


def _as_rows(input):
    """(N, C, H, W) -> (N * H * W, C)."""
    return input.permute(0, 2, 3, 1).reshape(-1, input.shape[1])


def _max_over_samples(table, rows, weights, is_used):
    """Largest sample of each cell and its number, -1 if the cell has none: both (R, C, h, w).

    rows and weights are (R, h, w, samples, corners), is_used (R, h, w, samples).
    """
    num_rois, height, width, samples, corners = rows.shape
    shape = (num_rois, table.shape[1], height, width)
    maximum, best = table.new_empty(shape), torch.empty(shape, dtype=torch.long, device=table.device)
    step = max(1, SLICE_ELEMENTS // max(1, height * width * samples * table.shape[1]))
    for part in range(0, num_rois, step):
        part = slice(part, part + step)
        values = sum_rows(table, rows[part].reshape(-1, corners), weights[part].reshape(-1, corners))
        values = values.view(-1, height, width, samples, table.shape[1])
        values = values.masked_fill(~is_used[part, ..., None], torch.finfo(values.dtype).min)
        top = values.max(3)
        maximum[part] = top.values.permute(0, 3, 1, 2)
        best[part] = torch.where(is_used[part].any(-1, keepdim=True), top.indices, -1).permute(0, 3, 1, 2)
    return maximum, best


def _pool_bins(low, high, num_bins, spatial_scale, size):
    """First pixel and one past the last of every cell, clamped into the map. Each (R, num_bins), integer."""
    start = low * spatial_scale
    length = ((high + 1) * spatial_scale - start) / num_bins
    number = torch.arange(num_bins, device=low.device)
    first = (number * length[:, None] + start[:, None]).floor().clamp(0, size).long()
    last = ((number + 1) * length[:, None] + start[:, None]).ceil().clamp(0, size).long()
    return first, last
