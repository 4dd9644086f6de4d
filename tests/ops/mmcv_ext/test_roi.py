"""RoI pooling through mmcv.ops: against loops over every sample, and the values mmcv's own tests expect."""

import math

import pytest
import torch
from mmcv.ops import DeformRoIPool, DeformRoIPoolPack, RoIAlign, RoIPool, deform_roi_pool

# Input, rois, expected output and input gradient of mmcv's tests (2 x 2 cells, scale 1, 2 x 2 samples per
# cell): test_roi_align.py and, the same numbers, test_deform_roi_pool.py; the pooled maximum from
# test_roi_pool.py.
SQUARE = [[1.0, 2], [3, 4]]
LARGE = [[1.0, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]
ALIGN = [
    ([SQUARE], [0.0, 0, 0, 1, 1], [[[1.0, 1.25], [1.5, 1.75]]], [[[3.0625, 0.4375], [0.4375, 0.0625]]]),
    (
        [SQUARE, [[4.0, 3], [2, 1]]],
        [0.0, 0, 0, 1, 1],
        [[[1.0, 1.25], [1.5, 1.75]], [[4.0, 3.75], [3.5, 3.25]]],
        [[[3.0625, 0.4375], [0.4375, 0.0625]]] * 2,
    ),
    (
        [LARGE],
        [0.0, 0, 0, 3, 3],
        [[[1.9375, 4.75], [7.5625, 10.375]]],
        [
            [
                [0.47265625, 0.42968750, 0.42968750, 0.04296875],
                [0.42968750, 0.39062500, 0.39062500, 0.03906250],
                [0.42968750, 0.39062500, 0.39062500, 0.03906250],
                [0.04296875, 0.03906250, 0.03906250, 0.00390625],
            ]
        ],
    ),
]
POOL = [
    ([SQUARE], [0.0, 0, 0, 1, 1], [SQUARE], [[[1.0, 1], [1, 1]]]),
    ([LARGE], [0.0, 0, 0, 3, 3], [[[4.0, 8], [12, 16]]], [[[0.0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]]]),
]


def make_inputs(dtype=torch.float64):
    """Regions inside, over every border, far outside, smaller than a pixel, and without area."""
    x = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rois = torch.tensor(
        [
            [0, 2.3, 1.1, 9.7, 14.2],
            [1, -5.0, -3.0, 8.0, 7.5],
            [0, 11.0, 10.0, 30.0, 26.0],
            [1, 40.0, 40.0, 60.0, 50.0],
            [1, 6.2, 6.3, 6.4, 6.6],
            [0, 5.0, 5.0, 5.0, 5.0],
        ],
        dtype=torch.float64,
    )
    return x.to(dtype).requires_grad_(), rois.to(dtype)


def sample(plane, y, x):
    """mmcv's bilinear rule: up to one pixel outside counts as the border, farther as 0."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return plane.sum() * 0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    row, column = int(y), int(x)
    ly, lx = y - row, x - column
    below, right = min(row + 1, height - 1), min(column + 1, width - 1)
    return (
        (1 - ly) * (1 - lx) * plane[row, column]
        + (1 - ly) * lx * plane[row, right]
        + ly * (1 - lx) * plane[below, column]
        + ly * lx * plane[below, right]
    )


def pool_samples_by_loops(x, rois, size, scale, sampling_ratio, aligned, reduce, offset=None, gamma=0.1):
    out = []
    for index, roi in enumerate(rois.tolist()):
        shift = 0.5 if aligned else 0.0
        x1, y1, x2, y2 = (v * scale - shift for v in roi[1:])
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        grid_h = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_h)
        grid_w = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_w)
        for c in range(x.shape[1]):
            plane = x[int(roi[0]), c]
            for i in range(size[0]):
                for j in range(size[1]):
                    dx = dy = 0.0
                    if offset is not None:
                        dx = gamma * width * offset[index, 0, i, j].item()
                        dy = gamma * height * offset[index, 1, i, j].item()
                    values = [
                        sample(
                            plane,
                            y1 + dy + (i + (sy + 0.5) / grid_h) * bin_h,
                            x1 + dx + (j + (sx + 0.5) / grid_w) * bin_w,
                        )
                        for sy in range(grid_h)
                        for sx in range(grid_w)
                    ]
                    out.append(reduce(values) if values else plane.sum() * 0)
    return torch.stack(out).view(len(rois), x.shape[1], *size)


def mean(values):
    return torch.stack(values).mean()


def largest(values):
    return torch.stack(values).max()


def assert_same_with_gradient(out, expected, x, **tolerance):
    torch.testing.assert_close(out, expected, **tolerance)
    factors = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    (grad,) = torch.autograd.grad((out * factors).sum(), x)
    (expected_grad,) = torch.autograd.grad((expected * factors).sum(), x)
    torch.testing.assert_close(grad, expected_grad, **tolerance)


@pytest.mark.parametrize(
    'pool, cases',
    [
        (RoIAlign((2, 2), 1.0, 2), ALIGN),
        (lambda x, rois: deform_roi_pool(x, rois, None, (2, 2), 1.0, 2), ALIGN),
        (RoIPool((2, 2), 1.0), POOL),
    ],
)
def test_published_values(pool, cases):
    for x, roi, expected, expected_grad in cases:
        x = torch.tensor([x], requires_grad=True)
        out = pool(x, torch.tensor([roi]))
        out.sum().backward()
        torch.testing.assert_close(out, torch.tensor([expected]))
        torch.testing.assert_close(x.grad, torch.tensor([expected_grad]))


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('mode, reduce', [('avg', mean), ('max', largest)])
def test_roi_align_equals_loops(mode, reduce, sampling_ratio, aligned, monkeypatch):
    monkeypatch.setattr('detrove.ops.mmcv_ext.roi.SLICE_ELEMENTS', 2000)
    x, rois = make_inputs()
    if mode == 'max':
        rois = rois[:5]  # without samples, mmcv's maximum is the lowest finite number: not worth a promise
    out = RoIAlign((3, 2), 0.5, sampling_ratio, mode, aligned)(x, rois)
    expected = pool_samples_by_loops(x, rois, (3, 2), 0.5, sampling_ratio, aligned, reduce)
    assert_same_with_gradient(out, expected, x)


def test_roi_pool_equals_loops():
    x, rois = make_inputs()
    out = RoIPool((3, 2), 0.5)(x, rois)
    expected = []
    for image, x1, y1, x2, y2 in rois.tolist():
        x1, y1, x2, y2 = x1 * 0.5, y1 * 0.5, (x2 + 1) * 0.5, (y2 + 1) * 0.5
        for c in range(3):
            for i in range(3):
                for j in range(2):
                    top, bottom = (math.floor(y1 + i * (y2 - y1) / 3), math.ceil(y1 + (i + 1) * (y2 - y1) / 3))
                    left, right = (math.floor(x1 + j * (x2 - x1) / 2), math.ceil(x1 + (j + 1) * (x2 - x1) / 2))
                    cell = x[int(image), c, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
                    expected.append(cell.max() if cell.numel() else x.sum() * 0)
    assert_same_with_gradient(out, torch.stack(expected).view_as(out), x)


def test_roi_pool_of_a_reversed_box_is_zero_without_gradient():
    x, _ = make_inputs()
    out = RoIPool(2, 1.0)(x, torch.tensor([[0, 5.0, 5.0, 1.0, 7.0]], dtype=torch.float64))
    out.sum().backward()
    assert not out.any() and not x.grad.any()


@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_deform_roi_pool_equals_loops(sampling_ratio):
    x, rois = make_inputs()
    offset = torch.randn(6, 2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out = deform_roi_pool(x, rois, offset, (3, 2), 0.5, sampling_ratio, 0.3)
    expected = pool_samples_by_loops(x, rois, (3, 2), 0.5, sampling_ratio, True, mean, offset, 0.3)
    assert_same_with_gradient(out, expected, x)


def test_deform_roi_pool_offset_gradient():
    """By finite differences, with every sample inside the map: outside, mmcv's slope is not the true one."""
    x, _ = make_inputs()
    rois = torch.tensor([[0, 3.1, 2.2, 8.3, 6.7], [1, 1.3, 1.4, 6.2, 7.1]], dtype=torch.float64)
    offset = torch.rand(2, 2, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    offset.requires_grad_()
    for sampling_ratio in (0, 2):
        assert torch.autograd.gradcheck(
            lambda x, offset: deform_roi_pool(x, rois, offset, (2, 2), 1.0, sampling_ratio, 0.1),  # noqa: B023
            (x, offset),
        )


def test_deform_roi_pool_offset_slope_outside_the_map():
    """Half a pixel left of the map the value is constant, the slope that between the first two cells."""
    x = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]])
    offset = torch.zeros(1, 2, 1, 1, requires_grad=True)
    out = deform_roi_pool(x, torch.tensor([[0.0, -0.5, 0.5, 0.5, 1.5]]), offset, (1, 1), 1.0, 1, 0.1)
    out.sum().backward()
    assert out.item() == 1.0
    torch.testing.assert_close(offset.grad.flatten(), torch.tensor([0.1 * 1.0 * 2.0, 0.0]))


def test_deform_roi_pool_modules():
    x, rois = make_inputs(torch.float32)
    out = DeformRoIPoolPack((3, 3), 3, spatial_scale=0.5)(x, rois)
    assert out.shape == (6, 3, 3, 3)
    torch.testing.assert_close(out, DeformRoIPool((3, 3), spatial_scale=0.5)(x, rois))  # offsets start at zero


@pytest.mark.parametrize(
    'pool', [RoIAlign(2, 0.5), RoIAlign(2, 0.5, pool_mode='max'), RoIPool(2, 0.5), DeformRoIPool(2, 0.5)]
)
class TestEveryPool:
    def test_no_regions(self, pool):
        x, rois = make_inputs(torch.float32)
        out = pool(x, rois[:0])
        out.sum().backward()
        assert out.shape == (0, 3, 2, 2) and not x.grad.any()

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_half_precision(self, pool, dtype):
        x, rois = make_inputs(dtype)
        out = pool(x, rois)
        expected = pool(x.detach().float(), rois.float())
        assert out.dtype == dtype
        torch.testing.assert_close(out, expected.to(dtype))
        assert torch.autograd.grad(out.sum(), x)[0].dtype == dtype
