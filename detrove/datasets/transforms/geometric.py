"""SSD's geometric augmentations as torchvision and the official RT-DETR define them, in mmdet's protocol.

All take random numbers from numpy's global generator, which mmengine seeds in every data loading worker.
Besides image and boxes they carry along whatever of gt_bboxes_labels, gt_ignore_flags, gt_masks and
gt_seg_map is there.
"""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import BaseBoxes, autocast_box_type
from mmdet.structures.mask import BitmapMasks, PolygonMasks

INSTANCE_KEYS = ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags', 'gt_masks')


@TRANSFORMS.register_module()
class RandomZoomOut(BaseTransform):
    """Places the image somewhere on a larger canvas, so that objects become smaller relative to it.

    Args:
        fill: grey value of the canvas.
        side_range: the canvas is between these many times as wide and high as the image, uniformly.
        prob: of zooming out at all.
    """

    def __init__(self, *, fill: int = 0, side_range: tuple[float, float] = (1.0, 4.0), prob: float = 0.5):
        if not 1 <= side_range[0] <= side_range[1]:
            raise ValueError(f'side_range must be (low, high) with 1 <= low <= high, got {side_range}')
        self.fill = fill
        self.side_range = side_range
        self.prob = prob

    @cache_randomness
    def _random_canvas(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Canvas height and width, and the image's top and left on it; None to leave the image alone."""
        if np.random.rand() >= self.prob:
            return None
        side = np.random.uniform(*self.side_range)
        canvas_height, canvas_width = int(height * side), int(width * side)
        left = int((canvas_width - width) * np.random.rand())
        top = int((canvas_height - height) * np.random.rand())
        return canvas_height, canvas_width, top, left

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        height, width = results['img'].shape[:2]
        canvas = self._random_canvas(height, width)
        if canvas is None:
            return results
        canvas_height, canvas_width, top, left = canvas

        def on_canvas(array: np.ndarray, fill: int) -> np.ndarray:
            larger = np.zeros((canvas_height, canvas_width, *array.shape[2:]), array.dtype)  # costs nothing
            if fill:
                larger[:] = fill
            larger[top : top + height, left : left + width] = array
            return larger

        results['img'] = on_canvas(results['img'], self.fill)
        results['img_shape'] = results['img'].shape[:2]
        if results.get('gt_seg_map') is not None:
            results['gt_seg_map'] = on_canvas(results['gt_seg_map'], results.get('ignore_index', 255))
        if 'gt_bboxes' in results:
            results['gt_bboxes'].translate_([left, top])
        if 'gt_masks' in results:
            results['gt_masks'] = _masks_on_canvas(results['gt_masks'], *canvas)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(fill={self.fill}, side_range={self.side_range}, prob={self.prob})'


def _masks_on_canvas(masks: BitmapMasks | PolygonMasks, height: int, width: int, top: int, left: int):
    if isinstance(masks, BitmapMasks):
        return masks.expand(height, width, top, left)
    offset = np.array([left, top])
    moved = [
        [(polygon.reshape(-1, 2) + offset).reshape(-1) for polygon in polygons] for polygons in masks.masks
    ]
    return PolygonMasks(moved, height, width)


@TRANSFORMS.register_module()
class RandomIoUCrop(BaseTransform):
    """Crops so that some object overlaps the crop by a randomly chosen IoU; objects centred outside go.

    Follows torchvision's ``RandomIoUCrop``: one object must reach the IoU, where mmdet's ``MinIoURandomCrop``
    asks it of all. Objects with the ignore flag (crowds) do not take part in the choice: the official data
    set leaves them out.
    Boxes may be left thinner than a pixel: ``SanitizeBoxes`` comes after.

    Args:
        min_scale, max_scale: range of the crop's width and height relative to the image's.
        min_aspect_ratio, max_aspect_ratio: limits of the crop's width over height.
        sampler_options: IoUs to choose from; one of at least 1 means "leave the image as it is".
        trials: crops tried before another IoU is chosen.
        prob: of cropping at all.
    """

    def __init__(
        self,
        *,
        min_scale: float = 0.3,
        max_scale: float = 1.0,
        min_aspect_ratio: float = 0.5,
        max_aspect_ratio: float = 2.0,
        sampler_options: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
        trials: int = 40,
        prob: float = 1.0,
    ):
        if not 0 < min_scale <= max_scale <= 1:
            raise ValueError(
                f'scales must be 0 < min_scale <= max_scale <= 1, got {min_scale} and {max_scale}'
            )
        if max(sampler_options) < 1:
            raise ValueError(
                f'sampler_options must hold a value of at least 1 (leave the image as it is), because some '
                f'images have no other answer; got {sampler_options}'
            )
        self.scales = min_scale, max_scale
        self.aspect_ratios = min_aspect_ratio, max_aspect_ratio
        self.sampler_options = tuple(sampler_options)
        self.trials = trials
        self.prob = prob

    @cache_randomness
    def _random_crop(
        self, height: int, width: int, boxes_xyxy: np.ndarray
    ) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of the crop, None to leave the image alone. boxes_xyxy (N, 4)."""
        if np.random.rand() >= self.prob or len(boxes_xyxy) == 0:
            return None
        while True:
            min_iou = self.sampler_options[np.random.randint(len(self.sampler_options))]
            if min_iou >= 1:
                return None
            crops = self._random_windows(height, width)
            centered = _centers_within(boxes_xyxy, crops)
            reached = np.where(centered, _iou(boxes_xyxy, crops), -1).max(1, initial=-1) >= min_iou
            if reached.any():
                return tuple(crops[reached.argmax()].tolist())

    def _random_windows(self, height: int, width: int) -> np.ndarray:
        """As many windows (left, top, right, bottom) as there are trials, without those of a wrong shape: (N, 4)."""
        image_wh = np.array([width, height])
        sides_wh = (image_wh * np.random.uniform(*self.scales, size=(self.trials, 2))).astype(int)
        sides_wh = sides_wh[(sides_wh >= 1).all(1)]
        ratios = sides_wh[:, 0] / sides_wh[:, 1]
        sides_wh = sides_wh[(self.aspect_ratios[0] <= ratios) & (ratios <= self.aspect_ratios[1])]
        corners_xy = ((image_wh - sides_wh) * np.random.rand(len(sides_wh), 2)).astype(int)
        return np.hstack([corners_xy, corners_xy + sides_wh])

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        boxes: BaseBoxes = results['gt_bboxes']
        boxes_xyxy = boxes.convert_to('hbox').tensor.numpy()
        height, width = results['img'].shape[:2]
        counted = ~np.asarray(results.get('gt_ignore_flags', np.zeros(len(boxes), bool)), bool)
        crop = self._random_crop(height, width, boxes_xyxy[counted])
        if crop is None:
            return results
        left, top, right, bottom = crop
        for key in ('img', 'gt_seg_map'):
            if results.get(key) is not None:
                results[key] = results[key][top:bottom, left:right]  # a view: resizing copies it anyway
        results['img_shape'] = results['img'].shape[:2]
        keep_instances(results, _centers_within(boxes_xyxy, np.array([crop]))[0])
        results['gt_bboxes'].translate_([-left, -top])
        results['gt_bboxes'].clip_(results['img_shape'])
        if 'gt_masks' in results:
            results['gt_masks'] = results['gt_masks'].crop(np.array(crop))
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scales={self.scales}, aspect_ratios={self.aspect_ratios}, '
            f'sampler_options={self.sampler_options}, trials={self.trials}, prob={self.prob})'
        )


def _centers_within(boxes_xyxy: np.ndarray, crops: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) have their centre strictly inside each of the crops (M, 4), (M, N) bool."""
    centers = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return ((crops[:, None, :2] < centers) & (centers < crops[:, None, 2:])).all(2)


def _iou(boxes_xyxy: np.ndarray, crops: np.ndarray) -> np.ndarray:
    """IoU of each of the crops (M, 4) with each box (N, 4), (M, N)."""
    crops = crops[:, None].astype(boxes_xyxy.dtype)
    sides = np.minimum(boxes_xyxy[:, 2:], crops[..., 2:]) - np.maximum(boxes_xyxy[:, :2], crops[..., :2])
    intersection = sides.clip(0).prod(2)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)
    return intersection / (areas + (crops[..., 2:] - crops[..., :2]).prod(2) - intersection)


@TRANSFORMS.register_module()
class SanitizeBoxes(BaseTransform):
    """Removes objects whose box is narrower or lower than `min_size` pixels, with their labels, flags and
    masks.

    An image that loses its last object stays. mmdet's ``FilterAnnotations`` would drop the image, and counts
    a box of exactly the limit as too small.
    """

    def __init__(self, *, min_size: float = 1.0):
        self.min_size = min_size

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        boxes = results['gt_bboxes']
        large = torch.minimum(boxes.widths, boxes.heights) >= self.min_size
        keep_instances(results, large.numpy())
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_size={self.min_size})'


def keep_instances(results: dict, keep: np.ndarray) -> None:
    """Keeps the objects that `keep` (N,) bool marks, in every annotation that has one entry per object."""
    if keep.all():
        return
    for key in INSTANCE_KEYS:
        if key in results:
            results[key] = results[key][keep]
