"""Which detections are right, at each IoU: pycocotools' matching, kept per image so that AP can be resampled."""

import contextlib
import copy
import io
from dataclasses import dataclass

import numpy as np

from .objects import MAX_DETS, Detections, Truth

THRESHOLDS = np.linspace(0.5, 0.95, 10)
SIZES = ('all', 'small', 'medium', 'large')  # areas up to 32², up to 96² and above, in pixels
IOU_TYPES = ('bbox', 'segm')


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class, best first, of the images together; T IoU thresholds.

    Attributes:
        scores: (N,) falling.
        image: (N,) position of the image.
        true: (T, N) bool, matched to an object.
        counted: (T, N) bool, right or wrong; not in a crowd, nor of another size.
        positives: (I,) number of objects in each image.
    """

    scores: np.ndarray
    image: np.ndarray
    true: np.ndarray
    counted: np.ndarray
    positives: np.ndarray

    def of_images(self, chosen: np.ndarray) -> 'ClassMatches':
        """The same for some of the images, (I,) bool."""
        kept = chosen[self.image]
        return ClassMatches(self.scores[kept], self.image[kept], self.true[:, kept], self.counted[:, kept],
                            np.where(chosen, self.positives, 0))


@dataclass(frozen=True)
class Matches:
    """Matches of a run.

    Attributes:
        by_size: for each of `SIZES` the K classes.
        found: (T, G) bool, whether each object of the truth was found; crowds never are.
        right: (T, N) bool, whether each detection was right, in the order of `Detections`.
        counted: (T, N) bool, whether it counts at all.
    """

    by_size: dict[str, list[ClassMatches]]
    found: np.ndarray
    right: np.ndarray
    counted: np.ndarray

    @property
    def classes(self) -> list[ClassMatches]:
        """Those of objects of every size."""
        return self.by_size['all']


def match(truth: Truth, detections: Detections, *, iou_type: str = 'bbox') -> Matches:
    """Match as the COCO tools do: per class and threshold, best score first, each object once.

    Args:
        truth, detections: of the same images.
        iou_type: whether boxes (`bbox`) or masks (`segm`) have to overlap.

    Raises:
        ValueError: if masks are asked for and there are none.
    """
    if iou_type not in IOU_TYPES:
        raise ValueError(f'iou_type must be one of {", ".join(IOU_TYPES)}, got {iou_type!r}')
    if iou_type == 'segm' and (detections.masks is None or truth.masks is None):
        without = 'the model' if detections.masks is None else truth.source
        raise ValueError(f'masks cannot be matched: {without} has none')
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = _evaluator(truth, detections, iou_type)
        evaluator.evaluate()
    num_images, num_classes = len(truth.image_ids), len(truth.classes)
    cells = np.empty(len(evaluator.evalImgs), dtype=object)
    cells[:] = evaluator.evalImgs
    cells = cells.reshape(num_classes, len(SIZES), num_images)
    by_size = {size: [_join(cells[label, index], num_images) for label in range(num_classes)]
               for index, size in enumerate(SIZES)}
    found = np.zeros((len(THRESHOLDS), len(truth.image)), dtype=bool)
    right, counted = (np.zeros((len(THRESHOLDS), len(detections)), dtype=bool) for _ in range(2))
    for cell in filter(None, cells[:, 0].ravel()):
        found[:, np.array(cell['gtIds'], dtype=int) - 1] = (cell['gtMatches'] > 0) & ~cell['gtIgnore'].astype(bool)
        own = np.array(cell['dtIds'], dtype=int) - 1
        right[:, own] = (cell['dtMatches'] > 0) & ~cell['dtIgnore'].astype(bool)
        counted[:, own] = ~cell['dtIgnore'].astype(bool)
    return Matches(by_size, found, right, counted)


def _evaluator(truth: Truth, detections: Detections, iou_type: str):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # sizes are asked for and, with run lengths, not used
    content = dict(images=[dict(id=index, height=0, width=0) for index in range(len(truth.image_ids))],
                   categories=[dict(id=label) for label in range(len(truth.classes))])
    true, found = COCO(), COCO()
    true.dataset = dict(content, annotations=_annotations(truth, iou_type, areas=truth.areas, crowd=truth.crowd))
    found.dataset = dict(content, annotations=_annotations(detections, iou_type, scores=detections.scores))
    true.createIndex()
    found.createIndex()
    evaluator = COCOeval(true, found, iou_type)
    evaluator.params.maxDets = [MAX_DETS]
    return evaluator


def _annotations(objects: Truth | Detections, iou_type: str, *, areas=None, crowd=None, scores=None) -> list[dict]:
    from pycocotools import mask as coco_mask

    boxes_xywh = objects.boxes_xyxy.copy()
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    if areas is None and iou_type == 'bbox':
        areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    elif areas is None:  # one by one: given more than 255 masks, pycocotools 2.0 fails with NumPy 2
        areas = np.array([coco_mask.area(mask) for mask in objects.masks])
    fields = dict(image_id=objects.image, category_id=objects.labels, bbox=boxes_xywh, area=areas)
    if scores is not None:
        fields['score'] = scores
    columns = {key: np.asarray(value).tolist() for key, value in fields.items()}
    flags = [0] * len(objects.image) if crowd is None else crowd.astype(int).tolist()
    rows = [dict(zip(columns, row, strict=True), id=index + 1, iscrowd=flag)
            for index, (row, flag) in enumerate(zip(zip(*columns.values(), strict=True), flags, strict=True))]
    if iou_type == 'segm':
        for row, mask in zip(rows, copy.deepcopy(objects.masks), strict=True):
            row['segmentation'] = mask
    return rows


def _join(cells, num_images: int) -> ClassMatches:
    """One class and size: its images' results as one list, sorted as COCO's accumulation sorts."""
    used = [(index, cell) for index, cell in enumerate(cells) if cell is not None]
    positives = np.zeros(num_images, dtype=np.int64)
    for index, cell in used:
        positives[index] = (np.asarray(cell['gtIgnore']) == 0).sum()
    none = np.zeros((len(THRESHOLDS), 0), dtype=bool)
    scores = np.concatenate([np.zeros(0), *(cell['dtScores'] for _, cell in used)])
    image = np.repeat([index for index, _ in used], [len(cell['dtScores']) for _, cell in used]).astype(np.int64)
    ignored = np.concatenate([none, *(cell['dtIgnore'].astype(bool) for _, cell in used)], axis=1)
    matched = np.concatenate([none, *(cell['dtMatches'] > 0 for _, cell in used)], axis=1)
    order = np.argsort(-scores, kind='mergesort')
    return ClassMatches(scores[order], image[order], (matched & ~ignored)[:, order], ~ignored[:, order], positives)
