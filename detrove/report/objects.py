"""What is analysed: the annotated objects of a data set and what a model found in its images, as flat arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from detrove.datasets.categories import category_ids_of
from detrove.evaluation.coco_format import read_coco_json

MAX_DETS = 100  # per image and class, as in COCO's AP


@dataclass(frozen=True)
class Truth:
    """Annotated objects of I images.

    Attributes:
        source: the file they are from.
        classes: K names.
        image_ids: (I,) ids in the file, ascending.
        image: (G,) position in `image_ids` of each object's image.
        boxes_xyxy: (G, 4) in pixels.
        labels: (G,) in 0 ... K - 1.
        areas: (G,) in pixels, as annotated: of the mask where there is one.
        crowd: (G,) bool, regions in which detections are neither right nor wrong.
        masks: G run lengths, or None if there are objects without one.
    """

    source: str
    classes: tuple[str, ...]
    image_ids: np.ndarray
    image: np.ndarray
    boxes_xyxy: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    masks: list | None = None

    @cached_property
    def by_image(self) -> list[np.ndarray]:
        """I index arrays."""
        return _positions(self.image, len(self.image_ids))

    def is_same_as(self, other: 'Truth') -> bool:
        """Whether two runs were measured on the same images, objects and classes."""
        names = ('image_ids', 'image', 'boxes_xyxy', 'labels', 'crowd')
        return self.classes == other.classes and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in names
        )


@dataclass(frozen=True)
class Detections:
    """What a model found in the images of a `Truth`, sorted by falling score within each image.

    Attributes:
        image: (N,) position of the image in `Truth.image_ids`, ascending.
        boxes_xyxy: (N, 4) in pixels.
        scores: (N,).
        labels: (N,).
        masks: N run lengths, or None for a model without masks.
    """

    image: np.ndarray
    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def of_images(self, num_images: int) -> list[np.ndarray]:
        """Index arrays, one for each image."""
        return _positions(self.image, num_images)


def read_truth(ann_file: str, classes: Sequence[str], image_ids: Sequence[int]) -> Truth:
    """The annotations of some images of a COCO file.

    Args:
        ann_file: COCO json.
        classes: names in the order of the labels; a subset of the file's will do.
        image_ids: the images that were predicted.

    Raises:
        FileNotFoundError, ValueError: if the file is not there or not COCO's, lacks a class or an image.
    """
    content = read_coco_json(ann_file)
    label_of = {category: label for label, category in enumerate(category_ids_of(content, classes, source=ann_file))}
    size_of = {image['id']: (image.get('height'), image.get('width')) for image in content['images']}
    ids = sorted(image_ids)
    foreign = [one for one in ids if one not in size_of]
    if foreign:
        raise ValueError(f'{len(foreign)} of {len(ids)} predicted images (ids {foreign[:5]}) are not in {ann_file}: '
                         'the predictions are of another data set, or the config names another annotation file.')
    place = {image_id: index for index, image_id in enumerate(ids)}
    found = [one for one in content['annotations'] if one['image_id'] in place and one['category_id'] in label_of]
    boxes = np.array([one['bbox'] for one in found], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = None
    if found and all(one.get('segmentation') for one in found):
        masks = [_run_lengths(one['segmentation'], size_of[one['image_id']]) for one in found]
    return Truth(
        source=str(ann_file),
        classes=tuple(classes),
        image_ids=np.array(ids),
        image=np.array([place[one['image_id']] for one in found], dtype=np.int64),
        boxes_xyxy=boxes,
        labels=np.array([label_of[one['category_id']] for one in found], dtype=np.int64),
        areas=np.array([one['area'] for one in found], dtype=np.float64),
        crowd=np.array([bool(one['iscrowd']) for one in found], dtype=bool),
        masks=masks,
    )


def to_detections(predictions: Sequence[Mapping], image_ids: np.ndarray) -> Detections:
    """Predictions of many images as arrays, the `MAX_DETS` best of each image and class.

    Args:
        predictions: per image `img_id`, `bboxes` (n, 4) xyxy, `scores`, `labels` and, optionally, `masks`.
        image_ids: as of `Truth`.
    """
    place = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    parts = sorted(predictions, key=lambda one: place[one['img_id']])
    empty = dict(bboxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, dtype=np.int64))
    joined = {key: np.concatenate([none, *(np.asarray(one[key]).reshape(-1, *none.shape[1:]) for one in parts)])
              for key, none in empty.items()}
    image = np.repeat([place[one['img_id']] for one in parts], [len(one['scores']) for one in parts]).astype(np.int64)
    order = np.lexsort((-joined['scores'], joined['labels'], image))  # stable: equal scores stay in the model's order
    group = image[order] * (joined['labels'].max(initial=0) + 1) + joined['labels'][order]
    first = np.r_[True, group[1:] != group[:-1]] if len(group) else np.zeros(0, dtype=bool)
    rank = np.arange(len(group)) - np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))
    kept = np.sort(order[rank < MAX_DETS])
    kept = kept[np.lexsort((-joined['scores'][kept], image[kept]))]
    masks = None
    if parts and all('masks' in one for one in parts):
        every = [mask for one in parts for mask in one['masks']]
        masks = [every[index] for index in kept]
    return Detections(image[kept], joined['bboxes'][kept].astype(np.float64), joined['scores'][kept].astype(np.float64),
                      joined['labels'][kept].astype(np.int64), masks)


def iou_matrix(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """(n, m) intersection over union as COCO's; over the first box's own area where the other is a crowd."""
    corner = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    far = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    inside = (far - corner).clip(min=0).prod(axis=2)
    area, other_area = ((boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1) for boxes in (boxes_xyxy, others_xyxy))
    union = area[:, None] + other_area[None, :] - inside
    if crowd is not None:
        union = np.where(crowd[None, :], area[:, None], union)
    return inside / np.maximum(union, 1e-12)


def _positions(image: np.ndarray, num_images: int) -> list[np.ndarray]:
    order = np.argsort(image, kind='stable')
    return np.split(order, np.searchsorted(image[order], np.arange(1, num_images)))


def _run_lengths(segmentation, size_hw: tuple[int, int]):
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    if isinstance(segmentation['counts'], list):
        return coco_mask.frPyObjects(segmentation, *segmentation['size'])
    return segmentation
