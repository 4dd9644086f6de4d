"""LVIS average precision of boxes and masks."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS

from .coco import CocoEvaluation, _mean

FREQUENCIES = {'r': 'rare', 'c': 'common', 'f': 'frequent'}


@METRICS.register_module()
class LvisEvaluation(CocoEvaluation):
    """AP and AR as LVIS defines them (Gupta et al., CVPR 2019), with COCO's protocol and names.

    An image is annotated for some of the categories only. Detections of a category count in images where it is
    annotated or known to be absent (``neg_category_ids``), and false ones do not count where it is not annotated to the
    last object (``not_exhaustive_category_ids``). Of an image the 300 best detections of all categories together count.

    Results, for `metric='bbox'`: `bbox_mAP`, `bbox_mAP_50`, `bbox_mAP_75`, `bbox_mAP_s`, `bbox_mAP_m`, `bbox_mAP_l`,
    `bbox_AR@300` and `bbox_AR_s@300` to `bbox_AR_l@300`, and `bbox_mAP_r`, `bbox_mAP_c`, `bbox_mAP_f` of rare, common
    and frequent categories. The numbers are those of the lvis package, computed by faster-coco-eval.

    Args:
        ann_file: LVIS json with the ground truth.
        metric: `bbox`, `segm`, or a list of both.
        max_dets: detections that count per image.
        classwise: also log one line per category.
        collect_device, prefix: as in `CocoEvaluation`; prefix `lvis` when None.

    Raises:
        ValueError: the file is not LVIS json, or as in `CocoEvaluation`.
    """

    default_prefix = 'lvis'
    evaluator_options = dict(lvis_style=True)

    def __init__(
        self,
        *,
        ann_file: str,
        metric: str | Sequence[str] = 'bbox',
        max_dets: int = 300,
        classwise: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(ann_file=ann_file, metric=metric, max_dets=max_dets, classwise=classwise,
                         backend='faster_coco_eval', collect_device=collect_device, prefix=prefix)
        self.max_dets = [max_dets]
        self.standard_max_dets = max_dets
        _check_lvis(self.ground_truth, ann_file)

    def compute_metrics(self, results: Sequence[dict]) -> dict[str, float]:
        return super().compute_metrics([_best(result, self.limit) for result in results])

    def _summarize(self, precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
        frequency_of = {category['id']: category['frequency'] for category in self.ground_truth['categories']}
        frequencies = np.array([frequency_of[category_id] for category_id in self.category_ids])
        values = super()._summarize(precision, recall)
        return values | {f'mAP_{one}': _mean(precision[:, :, frequencies == one, 0]) for one in FREQUENCIES}


def _check_lvis(content: dict, ann_file: str) -> None:
    needed = dict(images=('neg_category_ids', 'not_exhaustive_category_ids'), categories=('frequency',))
    for key, fields in needed.items():
        lacking = next((entry for entry in content[key] if not all(field in entry for field in fields)), None)
        if lacking is not None:
            raise ValueError(f'{ann_file} is not LVIS json: an entry of "{key}" lacks {" or ".join(fields)}: '
                             f'{str(lacking)[:200]}. CocoEvaluation takes COCO json.')
    unknown = {category['frequency'] for category in content['categories']} - FREQUENCIES.keys()
    if unknown:
        raise ValueError(
            f'{ann_file}: frequency must be one of {", ".join(FREQUENCIES)}, got {sorted(unknown, key=str)}')


def _best(prediction: dict, limit: int) -> dict:
    """The `limit` detections of the highest scores; of equal ones, those that come first."""
    if len(prediction['scores']) <= limit:
        return prediction
    best = np.argsort(-prediction['scores'], kind='stable')[:limit]
    return {key: value[best] if isinstance(value, np.ndarray) else [value[index] for index in best]
            if isinstance(value, list) else value for key, value in prediction.items()}
