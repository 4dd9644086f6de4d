"""Masks that pycocotools would not survive."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from detrove.datasets.mask_check import check_masks, run_lengths


@pytest.mark.parametrize('share', [0, 0.01, 0.5, 1])
def test_run_lengths_are_those_of_pycocotools(share):
    rng = np.random.default_rng(0)
    mask = np.asfortranarray((rng.random((300, 170)) < share).astype(np.uint8))
    mask[40:90] |= share == 0.01
    lengths = run_lengths(mask_util.encode(mask)['counts'].decode())
    values = np.arange(len(lengths)) % 2
    assert np.array_equal(np.repeat(values, lengths), mask.ravel(order='F'))


@pytest.mark.parametrize('mask, message', [
    (dict(size=[4, 5], counts='0d0'), None),
    (dict(size=[4, 5], counts=[3, 17]), None),
    ([[0, 0, 4, 0, 4, 3]], None),
    ([[0, 0, 4, 0]], None),
    (dict(size=[5, 4], counts='0d0'), r'the size \[5, 4\], but the image is \[4, 5\]'),
    (dict(size=[4, 5], counts='0P8'), 'do not make up 4 x 5'),
    (dict(size=[4, 5], counts=[3, 18]), 'do not make up'),
    (dict(size=[4, 5], counts=[30, -10]), 'do not make up'),
    (dict(size=[4, 5], counts='oooooooooooo'), 'cannot be read'),
    (dict(size=[4, 5], counts='\xff0'), 'cannot be read'),
    ('text', 'expected polygons'),
    ([[0, 0, 4, float('inf'), 4, 3]], 'not finite'),
    ([[0, 0, 4, '3', 4, 3]], 'more than numbers'),
    ([0, 0, 4, 0], 'list of int'),
])
def test_masks(mask, message):
    data_info = dict(img_path='a.png', height=4, width=5, instances=[dict(mask=mask)])
    if message is None:
        check_masks(data_info, source='train.json')
    else:
        with pytest.raises(ValueError, match=f'train.json: the segmentation of object 1 in a.png .*{message}'):
            check_masks(data_info, source='train.json')
