"""COCO average precision and recall of boxes and masks."""

import contextlib
import gc
import importlib.util
import io
from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.dist import broadcast_object_list, get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from detrove.datasets.categories import category_ids_of

from .coco_format import compact_prediction, read_coco_json, to_coco_results
from .coco_gather import gather_predictions

STANDARD_MAX_DETS = 100
AREAS = {
    '': 'all',
    '_s': 'small',
    '_m': 'medium',
    '_l': 'large',
}  # suffix of the metric -> name; order of COCO's axis
BACKENDS = ('auto', 'faster_coco_eval', 'pycocotools')
_NO_POLYGON: list = []


@contextlib.contextmanager
def _paused_collector():
    """Python's collector would walk again and again over the dicts that both COCO tools need for each detection."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@METRICS.register_module()
class CocoEvaluation(BaseMetric):
    """AP and AR as COCO defines them, at 100 detections per image and at the limit the model is used with.

    Category names connect the classes of the dataset with the categories of the annotation file; the ids in
    the file are free. Only images that were predicted are counted, and a warning says so when the file lists
    others. A value for which there is no ground truth is -1, as in the COCO tools.

    Results, for `metric='bbox'`: `bbox_mAP`, `bbox_mAP_50`, `bbox_mAP_75`, `bbox_mAP_s`, `bbox_mAP_m`,
    `bbox_mAP_l` at 100 detections, `bbox_mAP@L` at `max_dets=L` if that is not 100, and `bbox_AR@n` for n in
    1, 10, 100, L, all in [0, 1] or -1.

    Args:
        ann_file: COCO json with the ground truth.
        metric: `bbox`, `segm`, or a list of both.
        max_dets: The limit L: how many detections per image are looked at, per category.
        classwise: Also log one line per category.
        backend: `faster_coco_eval`, `pycocotools`, or `auto`: the former where it is installed. The numbers
            are equal.
        collect_device: taken for mmengine's sake: results of several processes always travel between CPUs
            (`coco_gather`).
        prefix: Put before the names of the results; `coco` when None.

    Raises:
        ValueError: If the file is not COCO json, or does not have the classes of the dataset; in `compute_metrics`, if
            masks are to be evaluated and the predictions have none.
    """

    default_prefix = 'coco'
    standard_max_dets = STANDARD_MAX_DETS
    evaluator_options: dict = {}  # of the backend's evaluator

    def __init__(
        self,
        *,
        ann_file: str,
        metric: str | Sequence[str] = 'bbox',
        max_dets: int = STANDARD_MAX_DETS,
        classwise: bool = True,
        backend: str = 'auto',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        unknown = set(self.metrics) - {'bbox', 'segm'}
        if unknown:
            raise ValueError(f"metric must be 'bbox', 'segm' or a list of them, got {sorted(unknown)}")
        if max_dets < 1:
            raise ValueError(f'max_dets must be at least 1, got {max_dets}')
        self.ann_file = ann_file
        self.limit = max_dets
        self.max_dets = sorted({1, 10, STANDARD_MAX_DETS, max_dets})
        self.classwise = classwise
        self.backend = _choose_backend(backend)
        self.ground_truth = read_coco_json(ann_file)
        if 'segm' in self.metrics and any('segmentation' not in ann for ann in self.ground_truth['annotations']):
            raise ValueError(f"metric='segm' needs masks, and {ann_file} has annotations without `segmentation`")

    @property
    def dataset_meta(self) -> dict | None:
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self._dataset_meta = meta
        self.category_ids = category_ids_of(self.ground_truth, meta['classes'], source=self.ann_file)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        self.results.extend(compact_prediction(sample) for sample in data_samples)

    def evaluate(self, size: int) -> dict[str, float]:
        """The metrics, on every rank. Images that samplers repeated count once."""
        if get_world_size() == 1:
            return super().evaluate(size)
        results = gather_predictions(self.results)
        metrics = [None]
        if results is not None:
            metrics = [{f'{self.prefix}/{name}': value for name, value in self.compute_metrics(results).items()}]
        broadcast_object_list(metrics)
        self.results.clear()
        return metrics[0]

    @_paused_collector()
    def compute_metrics(self, results: Sequence[dict]) -> dict[str, float]:
        logger = MMLogger.get_current_instance()
        image_ids = sorted({result['img_id'] for result in results})
        self._check_images(image_ids, logger)
        detections = to_coco_results(results, self.category_ids)
        if 'segm' in self.metrics and any('segmentation' not in one for one in detections):
            raise ValueError("metric='segm' needs masks, and the model predicts boxes alone. Use metric='bbox', or a "
                             'model with masks (for OneDETR: model.mask_branch, and no test-time augmentation).')
        metrics = {}
        for iou_type in self.metrics:
            precision, recall = self._accumulate(detections, image_ids, iou_type)
            values = self._summarize(precision, recall)
            metrics |= {f'{iou_type}_{name}': value for name, value in values.items()}
            logger.info(f'{iou_type} evaluation ({self.backend}, {len(image_ids)} images)\n'
                        + _value_table(values, self.standard_max_dets))
            if self.classwise:
                logger.info(f'{iou_type} AP per category\n' + self._category_table(precision, set(image_ids)))
        return metrics

    def _check_images(self, image_ids: list, logger) -> None:
        known = {image['id'] for image in self.ground_truth['images']}
        foreign = [image_id for image_id in image_ids if image_id not in known]
        if foreign:
            raise ValueError(
                f'{len(foreign)} of {len(image_ids)} predicted images (ids {foreign[:5]}) are not in {self.ann_file}. '
                'The ann_file of the evaluator must be the one of the dataset.'
            )
        if len(image_ids) < len(known):
            logger.warning(
                f'{self.ann_file} lists {len(known)} images, {len(image_ids)} were predicted; AP counts only those'
            )

    def _accumulate(self, detections: list[dict], image_ids: list, iou_type: str) -> tuple[np.ndarray, np.ndarray]:
        """Precision (IoU, recall, class, area, max_dets) and recall (IoU, class, area, max_dets), classes in
        the order of the dataset, -1 where there is no ground truth."""
        coco_class, evaluator_class = _import_backend(self.backend)
        if not image_ids or not self.category_ids:
            shape = (len(self.category_ids), len(AREAS), len(self.max_dets))
            return np.full((10, 101, *shape), -1.0), np.full((10, *shape), -1.0)
        if iou_type == 'segm':
            detections = [_mask_result(one) for one in detections]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = _indexed(coco_class, self.ground_truth)
            if detections:
                shared = len(self.metrics) > 1 and iou_type == 'bbox'  # loadRes writes into what it is given
                detections = [dict(one) for one in detections] if shared else detections
                for one in detections:  # loadRes would draw a polygon around each box, which nothing reads
                    one.setdefault('segmentation', _NO_POLYGON)
                found = truth.loadRes(detections)
            else:
                found = _indexed(coco_class, {**self.ground_truth, 'annotations': []})
            evaluator = evaluator_class(truth, found, iou_type, **self.evaluator_options)
            evaluator.params.imgIds = image_ids
            evaluator.params.catIds = self.category_ids
            evaluator.params.maxDets = self.max_dets
            evaluator.evaluate()
            evaluator.accumulate()
        in_dataset_order = np.argsort(np.argsort(self.category_ids))  # the evaluators sort by id
        precision = np.asarray(evaluator.eval['precision']).reshape(
            10, 101, len(self.category_ids), len(AREAS), len(self.max_dets)
        )
        recall = np.asarray(evaluator.eval['recall']).reshape(
            10, len(self.category_ids), len(AREAS), len(self.max_dets)
        )
        return precision[:, :, in_dataset_order], recall[:, in_dataset_order]

    def _summarize(self, precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
        standard, limit = self.max_dets.index(self.standard_max_dets), self.max_dets.index(self.limit)
        values = _average_precisions(precision[..., standard])
        if self.limit != self.standard_max_dets:
            values[f'mAP@{self.limit}'] = _mean(precision[:, :, :, 0, limit])
        for index, count in enumerate(self.max_dets):
            values[f'AR@{count}'] = _mean(recall[:, :, 0, index])
        for area, suffix in enumerate(AREAS):
            if suffix:
                values[f'AR{suffix}@{self.limit}'] = _mean(recall[:, :, area, limit])
        return values

    def _category_table(self, precision: np.ndarray, image_ids: set) -> str:
        standard = self.max_dets.index(self.standard_max_dets)
        counts = dict.fromkeys(self.category_ids, 0)
        for ann in self.ground_truth['annotations']:
            if ann['image_id'] in image_ids and ann['category_id'] in counts and not ann['iscrowd']:
                counts[ann['category_id']] += 1
        rows = []
        for index, name in enumerate(self.dataset_meta['classes']):
            values = _average_precisions(precision[:, :, index : index + 1, :, standard])
            rows.append([name, str(counts[self.category_ids[index]]), *map(_format, values.values())])
        return _align([['category', 'objects', 'mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'], *rows])


def _choose_backend(backend: str) -> str:
    if backend not in BACKENDS:
        raise ValueError(f'backend must be one of {", ".join(BACKENDS)}, got {backend!r}')
    if backend != 'auto':
        return backend
    return 'faster_coco_eval' if importlib.util.find_spec('faster_coco_eval') else 'pycocotools'


def _import_backend(backend: str):
    if backend == 'faster_coco_eval':
        from faster_coco_eval import COCO, COCOeval_faster

        return COCO, COCOeval_faster
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


def _indexed(coco_class, content: dict):
    # The tools write into the annotations they are given.
    coco = coco_class()
    coco.dataset = {**content, 'annotations': [dict(ann) for ann in content['annotations']]}
    coco.createIndex()
    return coco


def _mask_result(detection: dict) -> dict:
    """A detection as its mask counts: ranked by the score of the mask if it has one of its own."""
    # with a box present, COCO would take the area of the box for that of the mask
    result = {key: value for key, value in detection.items() if key not in ('bbox', 'mask_score')}
    return result | dict(score=detection.get('mask_score', detection['score']))


def _average_precisions(precision: np.ndarray) -> dict[str, float]:
    """The six AP values from precision (IoU, recall, class, area)."""
    values = {'mAP': _mean(precision[:, :, :, 0]), 'mAP_50': _mean(precision[0, :, :, 0])}
    values['mAP_75'] = _mean(precision[5, :, :, 0])
    values |= {f'mAP{suffix}': _mean(precision[..., area]) for area, suffix in enumerate(AREAS) if suffix}
    return values


def _mean(values: np.ndarray) -> float:
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else -1.0


def _format(value: float) -> str:
    return f'{value:.3f}' if value >= 0 else '-'


def _value_table(values: Mapping[str, float], standard_max_dets: int) -> str:
    """One line per value, with what it means computed from its name."""
    rows = []
    for name, value in values.items():
        kind, _, count = name.partition('@')
        base, _, detail = kind.partition('_')
        iou = {'50': '0.50', '75': '0.75'}.get(detail, '0.50:0.95')
        area = AREAS.get(f'_{detail}', 'all')
        rows.append([name, _format(value), f'IoU={iou}', f'area={area}', f'maxDets={count or standard_max_dets}'])
    return _align(rows)


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    )
