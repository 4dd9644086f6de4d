"""What fast forms of transforms have to equal."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from PIL import Image
from torchvision.transforms.v2 import functional

from detrove.datasets.transforms import HorizontalFlip, PackPlanes, RandomCropAtScale, SmoothResize
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
    boxes_xyxy = torch.tensor([[10, 20, 30.5, 40], [200, 100, 230, 160]])  # the second reaches over the edge
    theirs, ours = (
        transform(dict(img=image, gt_bboxes=HorizontalBoxes(boxes_xyxy.clone())))
        for transform in (TRANSFORMS.build(dict(type='mmdet.Resize', backend='pillow', **options)),
                          SmoothResize(**options)))
    assert np.abs(theirs.pop('img').astype(int) - ours.pop('img')).max() <= 1
    np.testing.assert_array_equal(theirs.pop('homography_matrix'), ours.pop('homography_matrix'))
    assert torch.equal(theirs.pop('gt_bboxes').tensor, ours.pop('gt_bboxes').tensor)
    assert ours == theirs


def test_smooth_resize_refuses_floats(image):
    with pytest.raises(ValueError, match='float32'):
        SmoothResize(scale=(64, 64))(dict(img=image.astype(np.float32)))


SCALES = [(40, 420), (50, 420), (60, 420)]


def with_boxes(height=96, width=128):
    """Whose pixels say where they are: (x, y, 0); one box around the middle, one in a corner."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    boxes_xyxy = np.array([[60, 40, 70, 56], [0, 0, 3, 3]], np.float32)
    return dict(img=np.stack([x, y, 0 * x], -1), gt_bboxes=HorizontalBoxes(boxes_xyxy),
                gt_bboxes_labels=np.array([3, 4]), gt_ignore_flags=np.array([False, True]))


def test_crop_at_scale_moves_boxes_with_the_image():
    crop = RandomCropAtScale(scales=SCALES, crop_size=(38, 60), allow_negative_crop=True)
    np.random.seed(0)
    seen = set()
    for _ in range(30):
        results = crop(with_boxes())
        left, top = results['img'][0, 0, :2].tolist()
        height, width = results['img_shape']
        assert results['img'].shape == (height, width, 3) and height <= 96 and width <= 128
        boxes_xyxy = np.array([[60, 40, 70, 56], [0, 0, 3, 3]]) - [left, top, left, top]
        boxes_xyxy = boxes_xyxy.clip(0, [width, height, width, height])
        kept = (boxes_xyxy[:, 2:] > 0).all(1) & (boxes_xyxy[:, :2] < [width, height]).all(1)
        np.testing.assert_array_equal(results['gt_bboxes'].tensor.numpy(), boxes_xyxy[kept])
        assert len(results['gt_bboxes_labels']) == len(results['gt_ignore_flags']) == kept.sum()
        np.testing.assert_array_equal(
            results['homography_matrix'], np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float32))
        seen.add(tuple(kept.tolist()))
    assert len(seen) > 1


def test_crop_at_scale_shows_what_resizing_before_the_crop_shows():
    """Share of the image in width and height, and where it begins: means and spreads of both ways."""
    before = [TRANSFORMS.build(transform) for transform in (
        dict(type='RandomChoiceResize', scales=SCALES, resize_type='mmdet.Resize', keep_ratio=True),
        dict(type='mmdet.RandomCrop', crop_type='absolute_range', crop_size=(38, 60), allow_negative_crop=True))]
    ways = before, [RandomCropAtScale(scales=SCALES, crop_size=(38, 60), allow_negative_crop=True)]
    moments = []
    for way in ways:
        np.random.seed(0)
        views = []
        for _ in range(600):
            results = dict(img=np.zeros((96, 128, 3), np.uint8))
            for transform in way:
                results = transform(results)
            # where a pixel of the source is in the view, and the view's sides, in the source's pixels
            scale, offset = np.diag(results['homography_matrix'])[:2], results['homography_matrix'][:2, 2]
            views.append([*(-offset / scale), *(np.array(results['img_shape'])[::-1] / scale)])
        moments.append((np.mean(views, 0), np.std(views, 0)))
    np.testing.assert_allclose(moments[0], moments[1], atol=2.5)  # pixels; standard errors are 0.3 to 1


def test_crop_at_scale_needs_scales():
    with pytest.raises(ValueError, match='at least one'):
        RandomCropAtScale(scales=[], crop_size=(38, 60))


def test_horizontal_flip_draws_what_random_flip_draws():
    theirs, ours = TRANSFORMS.build(dict(type='mmdet.RandomFlip', prob=0.3)), HorizontalFlip(prob=0.3)
    flipped = []
    for transform in (theirs, ours):
        np.random.seed(0)
        flipped.append([transform(with_boxes()) for _ in range(40)])
    assert {results['flip'] for results in flipped[0]} == {True, False}
    for their, own in zip(*flipped, strict=True):
        assert their['flip'] == own['flip'] and their['flip_direction'] == own['flip_direction']
        np.testing.assert_array_equal(their['img'], own['img'])
        assert torch.equal(their['gt_bboxes'].tensor, own['gt_bboxes'].tensor)
    assert np.random.rand() == np.random.RandomState(0).rand(41)[-1]
