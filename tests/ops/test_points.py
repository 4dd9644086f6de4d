"""Points of maps against loops."""

import torch

from detrove.ops.points import sample_points, uncertain_points


def slow_value(cells, x, y):
    """Bilinear value at (x, y) in units of cells, cells outside the map counting as zero."""
    height, width = cells.shape
    x, y = x * width - 0.5, y * height - 0.5
    total = 0.0
    for row in (int(y // 1), int(y // 1) + 1):
        for column in (int(x // 1), int(x // 1) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += float(cells[row, column]) * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def test_sample_points_equals_the_loop():
    torch.manual_seed(0)
    maps, points = torch.randn(3, 5, 7).double(), torch.rand(3, 20, 2).double()
    expected = [[slow_value(cells, *point) for point in row.tolist()] for cells, row in zip(maps, points, strict=True)]
    torch.testing.assert_close(sample_points(maps, points), torch.tensor(expected).double())


def test_uncertain_points_lie_where_the_mask_is_undecided():
    torch.manual_seed(0)
    x = torch.linspace(-8, 8, 64)
    logits = torch.stack([x.expand(64, -1), x[:, None].expand(-1, 64)])  # undecided at the middle column and row
    points = uncertain_points(logits, 100, oversample_ratio=4, importance_ratio=0.75)
    assert points.shape == (2, 100, 2) and (points >= 0).all() and (points < 1).all()
    distance = sample_points(logits, points).abs()
    # the best 75 of 400 uniform points, then uniform ones
    assert (distance[:, :75] < 8 * 75 / 400 * 1.5).all()
    assert (distance[:, 75:] > 4).any()
