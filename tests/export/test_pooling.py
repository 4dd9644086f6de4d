"""Average pooling with open sizes equals torch's, and goes into a file that way."""

import pytest
import torch
from torch import nn

from detrove.export.pooling import PoolByProducts, pool_by_products


@pytest.mark.parametrize('output_size', [1, 3, 6, (2, None), (None, 3), (4, 7)])
@pytest.mark.parametrize('size_hw', [(5, 7), (12, 6), (1, 2), (13, 13)])
def test_equals_torchs(output_size, size_hw):
    maps = torch.randn(2, 3, *size_hw, dtype=torch.float64)
    network = nn.Sequential(nn.Sequential(nn.AdaptiveAvgPool2d(output_size)))
    expected = network(maps)
    pool_by_products(network)
    assert isinstance(network[0][0], PoolByProducts)
    torch.testing.assert_close(network(maps), expected, rtol=1e-12, atol=1e-12)


def test_sizes_stay_open():
    side = torch.export.Dim('side', min=2, max=64)
    program = torch.export.export(PoolByProducts((3, 3)), (torch.randn(1, 2, 8, 8),), dynamic_shapes=[{2: side}])
    maps = torch.randn(1, 2, 11, 8)
    torch.testing.assert_close(program.module()(maps), nn.functional.adaptive_avg_pool2d(maps, 3))
