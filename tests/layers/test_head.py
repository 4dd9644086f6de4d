"""Class and box heads of the decoder layers."""

import pytest
import torch

from detrove.layers import LayerwiseHead


@pytest.mark.parametrize('shared', [True, False])
def test_only_the_first_boxes_start_with_the_size_bias(shared):
    head = LayerwiseHead(num_classes=3, shared=shared, size_bias=-2.0, num_layers=2, embed_dims=8)
    query = torch.randn(1, 5, 8)
    assert head.box_delta(0, query).tolist() == [[[0.0, 0.0, -2.0, -2.0]] * 5]
    assert head.box_delta(1, query).tolist() == [[[0.0, 0.0, -2.0, -2.0] if shared else [0.0] * 4] * 5]
