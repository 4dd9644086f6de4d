"""What fast forms of transforms have to equal."""

import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms.v2 import functional

from detrove.datasets.transforms import PackPlanes, SmoothResize
from detrove.datasets.transforms.hue import shift_hue
from detrove.datasets.transforms.resize import resize_smoothly


@pytest.fixture
def image():
    """Shades and noise, (150, 220, 3) uint8."""
    rng = np.random.default_rng(0)
    shades = cv2.resize(rng.integers(0, 256, (9, 13, 3), np.uint8), (220, 150), interpolation=cv2.INTER_CUBIC)
    return cv2.add(shades, rng.integers(0, 20, shades.shape, np.uint8))


@pytest.mark.parametrize('factor', [0.0, 0.05, -0.05, 0.0131, -0.5])
def test_hue_is_pillows_for_colours_of_all_kinds(factor):
    levels = np.r_[0:256:5, 1, 2, 127, 128, 254].astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
    expected = np.asarray(functional.adjust_hue(Image.fromarray(colours), factor))
    np.testing.assert_array_equal(shift_hue(colours, int(factor * 255)), expected)


@pytest.mark.parametrize('size_wh', [(640, 640), (220, 97), (100, 300), (100, 60), (300, 60), (300, 20)])
def test_smooth_resizing_is_pillows_within_one_grey_level(image, size_wh):
    ours, pillows = resize_smoothly(image, size_wh).astype(int), Image.fromarray(image)
    if size_wh[0] > 220 and size_wh[1] < 150:  # Pillow's order depends on its version here
        assert np.abs(ours - np.asarray(pillows.resize(size_wh, Image.Resampling.BILINEAR))).max() <= 1
        pillows = pillows.resize((220, size_wh[1]), Image.Resampling.BILINEAR)
    difference = np.abs(ours - np.asarray(pillows.resize(size_wh, Image.Resampling.BILINEAR)))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.005


@pytest.mark.parametrize('view', [
    lambda image: image[20:90, 30:170], lambda image: image[:, ::-1], lambda image: image[::-1],
    lambda image: image[::-1, ::-1], lambda image: image[20:90, 30:170][:, ::-1]])
def test_views_are_taken_as_they_are(image, view):
    shown = view(image)
    np.testing.assert_array_equal(
        resize_smoothly(shown, (100, 80)), resize_smoothly(np.array(shown, order='C'), (100, 80)))
    packed = PackPlanes()(dict(img=shown))['inputs'].numpy()
    np.testing.assert_array_equal(packed, shown.transpose(2, 0, 1))
    assert packed.flags.c_contiguous


@pytest.mark.parametrize('options', [
    dict(scale=(64, 80), keep_ratio=False), dict(scale=(333, 100), keep_ratio=True), dict(scale_factor=0.5)])
def test_smooth_resize_records_what_mmdets_does(image, options):
    theirs = TRANSFORMS.build(dict(type='mmdet.Resize', backend='pillow', **options))(dict(img=image))
    ours = SmoothResize(**options)(dict(img=image))
    assert np.abs(theirs.pop('img').astype(int) - ours.pop('img')).max() <= 1
    np.testing.assert_array_equal(theirs.pop('homography_matrix'), ours.pop('homography_matrix'))
    assert ours == theirs


def test_smooth_resize_refuses_floats(image):
    with pytest.raises(ValueError, match='float32'):
        SmoothResize(scale=(64, 64))(dict(img=image.astype(np.float32)))
