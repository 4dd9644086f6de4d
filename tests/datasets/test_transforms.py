import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from detrove.datasets.transforms import RandomIoUCrop, RandomPhotometricDistort, RandomZoomOut, SanitizeBoxes

SIZES_HW = [(120, 160), (37, 211), (1, 1), (64, 64)]
GEOMETRIC = [RandomZoomOut(prob=1), RandomIoUCrop(prob=1)]


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(0)
    torch.manual_seed(0)


def results(boxes_xyxy, size_hw=(120, 160), masks=None, **more):
    """An image that shows object i as a rectangle of the grey value 50 + i on black."""
    boxes = np.array(boxes_xyxy, np.float32).reshape(-1, 4)
    image = np.zeros((*size_hw, 3), np.uint8)
    bitmaps = np.zeros((len(boxes), *size_hw), np.uint8)
    polygons = []
    for index, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        image[y1:y2, x1:x2] = 50 + index
        bitmaps[index, y1:y2, x1:x2] = 1
        polygons.append([np.array([x1, y1, x2, y1, x2, y2, x1, y2], float)])
    sample = dict(
        img=image,
        img_shape=size_hw,
        gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.zeros(len(boxes), bool),
        gt_seg_map=image[..., 0].copy(),
        **more,
    )
    if masks == 'bitmap':
        sample['gt_masks'] = BitmapMasks(bitmaps, *size_hw)
    elif masks == 'polygon':
        sample['gt_masks'] = PolygonMasks(polygons, *size_hw)
    return sample


def apart(size_hw):
    """Two boxes that do not touch, for a size that has room for them."""
    height, width = size_hw
    if min(size_hw) < 10:
        return [(0, 0, width, height)]
    return [(1, 2, width // 3, height // 2), (width // 2, height // 3, width - 1, height)]


@pytest.mark.parametrize('masks', ['bitmap', 'polygon'])
@pytest.mark.parametrize('size_hw', SIZES_HW)
@pytest.mark.parametrize('transform', GEOMETRIC, ids=lambda t: type(t).__name__)
def test_boxes_masks_and_maps_follow_the_image(transform, size_hw, masks):
    changed = 0
    for _ in range(30):
        out = SanitizeBoxes()(transform(results(apart(size_hw), size_hw, masks)))
        height, width = out['img'].shape[:2]
        assert out['img_shape'] == (height, width) == out['gt_seg_map'].shape
        changed += (height, width) != size_hw
        assert (
            len(out['gt_bboxes'])
            == len(out['gt_bboxes_labels'])
            == len(out['gt_ignore_flags'])
            == len(out['gt_masks'])
        )
        assert (out['gt_masks'].height, out['gt_masks'].width) == (height, width)
        bitmaps = out['gt_masks'].to_ndarray()
        for box, label, bitmap in zip(
            out['gt_bboxes'].tensor.numpy(), out['gt_bboxes_labels'], bitmaps, strict=True
        ):
            y, x = np.nonzero(out['img'][..., 0] == 50 + label)
            np.testing.assert_array_equal(box, [x.min(), y.min(), x.max() + 1, y.max() + 1])
            assert box.min() >= 0 and box[2] <= width and box[3] <= height
            shown = np.zeros((height, width), bool)
            shown[y, x] = True
            np.testing.assert_array_equal(out['gt_seg_map'] == 50 + label, shown)
            np.testing.assert_array_equal(bitmap.astype(bool), shown)
    assert changed or size_hw == (1, 1)


@pytest.mark.parametrize('masks', ['bitmap', 'polygon', None])
@pytest.mark.parametrize('size_hw', SIZES_HW)
@pytest.mark.parametrize(
    'transform', [*GEOMETRIC, RandomPhotometricDistort(), SanitizeBoxes()], ids=lambda t: type(t).__name__
)
def test_images_without_objects(transform, size_hw, masks):
    for _ in range(10):
        out = transform(results([], size_hw, masks))
        assert len(out['gt_bboxes']) == 0 and out['gt_bboxes'].tensor.shape == (0, 4)
        assert out['img'].dtype == np.uint8 and out['img'].shape[:2] == out['img_shape']


def test_everything_registered_and_printable():
    for name in ('RandomPhotometricDistort', 'RandomZoomOut', 'RandomIoUCrop', 'SanitizeBoxes'):
        transform = TRANSFORMS.build(dict(type=f'mmdet.{name}'))
        assert repr(transform).startswith(name)


def test_numpy_seed_decides():
    sequence = [RandomPhotometricDistort(), RandomZoomOut(), RandomIoUCrop(), SanitizeBoxes()]

    def run():
        np.random.seed(3)
        outs = []
        for _ in range(5):
            out = results(apart((120, 160)))
            for transform in sequence:
                out = transform(out)
            outs.append(out['img'])
        return outs

    for first, second in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_zoom_out_has_torchvisions_distribution():
    ours = RandomZoomOut(prob=1)
    theirs = v2.RandomZoomOut(p=1)
    sample = [tv_tensors.Image(torch.zeros(3, 100, 200))]

    def theirs_canvas():
        left, top, right, bottom = theirs.make_params(sample)['padding']
        return 100 + top + bottom, 200 + left + right, top, left

    check_same_distribution(
        [ours._random_canvas(100, 200) for _ in range(4000)], [theirs_canvas() for _ in range(4000)]
    )


def test_iou_crop_has_torchvisions_distribution():
    boxes_xyxy = torch.tensor([[5.0, 5, 30, 40], [50, 20, 150, 90], [10, 70, 25, 80]])
    sample = [
        tv_tensors.Image(torch.zeros(3, 100, 160)),
        tv_tensors.BoundingBoxes(boxes_xyxy, format='XYXY', canvas_size=(100, 160)),
    ]
    ours, theirs = RandomIoUCrop(), v2.RandomIoUCrop()

    def theirs_crop():
        p = theirs.make_params(sample)
        return (p['left'], p['top'], p['left'] + p['width'], p['top'] + p['height']) if p else None

    count = 700
    our_crops = [ours._random_crop(100, 160, boxes_xyxy.numpy()) for _ in range(count)]
    their_crops = [theirs_crop() for _ in range(count)]
    shares = [sum(crop is None for crop in crops) / count for crops in (our_crops, their_crops)]
    assert abs(shares[0] - shares[1]) < 4 * (0.25 * 2 / count) ** 0.5
    check_same_distribution([c for c in our_crops if c], [c for c in their_crops if c])


def check_same_distribution(ours, theirs):
    """Two-sample Kolmogorov-Smirnov on each coordinate, which a right answer fails once in thousands."""
    from scipy.stats import ks_2samp

    for our_values, their_values in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert ks_2samp(our_values, their_values).pvalue > 1e-4


@pytest.mark.parametrize('contrast_first', [True, False])
def test_photometric_arithmetic_is_torchvisions(contrast_first, monkeypatch):
    image_rgb = np.random.randint(0, 256, (40, 30, 3), np.uint8)
    changes = dict(brightness=1.1, contrast=0.6, saturation=1.4, hue=-0.04)
    order = np.array([2, 0, 1])
    theirs = v2.RandomPhotometricDistort(p=1).transform(
        Image.fromarray(image_rgb),
        dict(
            {f'{name}_factor': value for name, value in changes.items()},
            contrast_before=contrast_first,
            channel_permutation=torch.from_numpy(order),
        ),
    )
    ours = RandomPhotometricDistort()
    monkeypatch.setattr(ours, '_random_changes', lambda: (changes, contrast_first, order))
    image_bgr = np.ascontiguousarray(image_rgb[..., ::-1])
    untouched = image_bgr.copy()
    out = ours(dict(img=image_bgr))['img']
    np.testing.assert_array_equal(out[..., ::-1], np.asarray(theirs))
    np.testing.assert_array_equal(image_bgr, untouched)
    assert out.flags.c_contiguous


def test_photometric_changes_have_torchvisions_distribution():
    ours, theirs = RandomPhotometricDistort(), v2.RandomPhotometricDistort()
    assert ours.prob == theirs.p
    assert ours.ranges == {name: getattr(theirs, name) for name in ours.ranges}
    drawn = [ours._random_changes() for _ in range(2000)]
    for name, (low, high) in ours.ranges.items():
        values = [changes[name] for changes, _, _ in drawn if name in changes]
        assert abs(len(values) / 2000 - 0.5) < 0.05
        assert low <= min(values) and max(values) <= high and abs(np.mean(values) - (low + high) / 2) < 0.03
    assert abs(np.mean([first for _, first, _ in drawn]) - 0.5) < 0.05
    orders = [tuple(order) for _, _, order in drawn if order is not None]
    assert abs(len(orders) / 2000 - 0.5) < 0.05 and len(set(orders)) == 6


def test_crop_ignores_crowds_in_its_choice_but_carries_them(monkeypatch):
    crop = RandomIoUCrop()
    sample = results([(0, 0, 10, 10), (100, 60, 140, 100)])
    sample['gt_ignore_flags'] = np.array([False, True])
    asked = []
    monkeypatch.setattr(crop, '_random_crop', lambda h, w, boxes: asked.append(boxes) or (50, 40, 160, 120))
    out = crop(sample)
    assert asked[0].tolist() == [[0, 0, 10, 10]]
    assert out['gt_bboxes'].tensor.tolist() == [[50, 20, 90, 60]] and out['gt_ignore_flags'].tolist() == [
        True
    ]


def test_sanitize_keeps_a_box_of_exactly_one_pixel():
    boxes = [(0, 0, 1, 1), (5, 5, 5.9, 9), (5, 5, 9, 5), (7, 7, 20, 30)]
    out = SanitizeBoxes()(results(boxes, masks='bitmap'))
    assert out['gt_bboxes_labels'].tolist() == [0, 3] and len(out['gt_masks']) == 2


def test_resize_by_pillow_is_torchvisions_resize():
    image = np.random.randint(0, 256, (97, 143, 3), np.uint8)
    resize = TRANSFORMS.build(dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=False, backend='pillow'))
    theirs = np.asarray(v2.functional.resize(Image.fromarray(image), [64, 64]))
    np.testing.assert_array_equal(resize(dict(img=image))['img'], theirs)
    assert (cv2.resize(image, (64, 64)) != theirs).any()


@pytest.mark.parametrize(
    'build',
    [
        lambda: RandomZoomOut(side_range=(0.5, 2)),
        lambda: RandomIoUCrop(min_scale=0),
        lambda: RandomIoUCrop(sampler_options=(0.3, 0.5)),
        lambda: RandomPhotometricDistort(prob=2),
    ],
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(ValueError, match='got'):
        build()
