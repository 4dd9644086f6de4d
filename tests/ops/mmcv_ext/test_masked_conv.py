"""MaskedConv2d of mmcv.ops is a convolution at the chosen places and zero elsewhere."""

import pytest
import torch
from mmcv import _ext
from mmcv.ops import MaskedConv2d


@pytest.mark.parametrize('kernel, padding', [(3, 1), (1, 0), (5, 2)])
def test_equals_the_convolution_where_the_mask_is_set(kernel, padding):
    torch.manual_seed(0)
    conv = MaskedConv2d(3, 4, kernel, padding=padding)
    x = torch.randn(1, 3, 6, 7)
    mask = (torch.rand(1, 6, 7) > 0.6).float()
    out = conv(x, mask)
    expected = torch.nn.functional.conv2d(x, conv.weight, conv.bias, padding=padding) * mask
    torch.testing.assert_close(out, expected)
    assert 0 < mask.sum() < mask.numel()


def test_nothing_chosen():
    assert not MaskedConv2d(3, 4, 3, padding=1)(torch.randn(1, 3, 6, 7), torch.zeros(1, 6, 7)).any()


def test_places_not_chosen_keep_their_value():
    im = torch.full((1, 2, 3, 3), 7.0)
    _ext.masked_col2im_forward(
        torch.tensor([[1.0], [2.0]]), torch.tensor([1]), torch.tensor([2]), im, height=3, width=3, channels=2
    )
    assert im[0, :, 1, 2].tolist() == [1.0, 2.0]
    assert im.sum() == 3 + 7 * 16
