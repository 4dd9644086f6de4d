"""Position embeddings against loops over the formula."""

import math

import pytest
import torch

from detrove.layers.sine import sine_of_boxes, sine_of_tokens


def slow_sine(value, num_feats, temperature):
    out = []
    for i in range(num_feats):
        angle = value / temperature ** (2 * (i // 2) / num_feats)
        out.append(math.sin(angle) if i % 2 == 0 else math.cos(angle))
    return out


@pytest.mark.parametrize('order', ['xywh', 'yxwh'])
def test_boxes(order):
    boxes = torch.rand(2, 3, 4, dtype=torch.float64)
    embedded = sine_of_boxes(boxes, 8, order)
    assert embedded.shape == (2, 3, 32)
    box = dict(zip('xywh', boxes[1, 2].tolist(), strict=True))
    expected = [x for name in order for x in slow_sine(box[name] * 2 * math.pi, 8, 10000)]
    torch.testing.assert_close(embedded[1, 2], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize('offset', [0.0, -0.5])
def test_tokens(make_memory, offset):
    """Cell (row 2, column 3) of the first level, in an image of 3 x 5 valid cells and in one that fills 4 x 6."""
    memory = make_memory(torch.zeros(2, 30, 4), ((4, 6), (2, 3)), [(24, 40), (32, 48)], (32, 48))
    position = sine_of_tokens(memory, 16, temperature=20.0, offset=offset)
    assert position.shape == (2, 30, 16)
    for image, (height, width) in enumerate([(3, 5), (4, 6)]):
        y, x = ((cell + 1 + offset) / (size + 1e-6) * 2 * math.pi for cell, size in ((2, height), (3, width)))
        expected = slow_sine(y, 8, 20.0) + slow_sine(x, 8, 20.0)
        torch.testing.assert_close(position[image, 2 * 6 + 3], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_tokens_without_padding_are_one_for_all_images(make_memory):
    assert sine_of_tokens(make_memory(torch.zeros(2, 30, 4), ((4, 6), (2, 3))), 16).shape == (1, 30, 16)
