"""COCO's files: annotations read, predictions turned into results and written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.structures.mask import encode_mask_results
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from detrove.datasets.json_bytes import from_json


class CocoResultsWriter(BaseMetric):
    """Write predictions as a COCO result file: a json list of `{image_id, category_id, bbox, score}`.

    Boxes are `[x, y, width, height]` in pixels of the original image; masks, where there are any, are added
    as compressed run lengths under `segmentation`.

    Args:
        out_file: Where to write.
        dataset: The dataset that is predicted; its `cat_ids` are the category ids of the labels.

    Raises:
        ValueError: If the dataset has no category ids.
    """

    def __init__(self, *, out_file: str, dataset):
        super().__init__(collect_device='cpu')
        if not hasattr(dataset, 'cat_ids'):
            raise ValueError(
                f'{out_file}: COCO results need the category ids of a COCO-format dataset, and '
                f'{type(dataset).__name__} has none. Write x.pkl instead.'
            )
        self.out_file = Path(out_file)
        self.category_ids = list(dataset.cat_ids)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        self.results.extend(compact_prediction(sample) for sample in data_samples)

    def compute_metrics(self, results: Sequence[dict]) -> dict:
        self.out_file.parent.mkdir(parents=True, exist_ok=True)
        self.out_file.write_text(json.dumps(to_coco_results(results, self.category_ids)))
        MMLogger.get_current_instance().info(f'predictions of {len(results)} images written to {self.out_file}')
        return {}


def read_coco_json(ann_file: str) -> dict:
    """Read a COCO annotation file; `iscrowd` and `area` are filled in (0, and that of the box) where they are
    missing.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not json, or not COCO's: `images`, `annotations` and `categories`.
    """
    path = Path(ann_file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'annotation file not found: {path.absolute()}')
    try:
        content = from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} is not json: {error}') from error
    missing = {'images', 'annotations', 'categories'} - set(content if isinstance(content, dict) else ())
    if missing:
        raise ValueError(f'{path} is not a COCO annotation file: it lacks {", ".join(sorted(missing))}')
    annotations = [
        {'iscrowd': 0, 'area': float(ann['bbox'][2]) * float(ann['bbox'][3]), **ann} for ann in content['annotations']
    ]
    return {**content, 'annotations': annotations}


def to_coco_results(predictions: Sequence[Mapping], category_ids: Sequence[int]) -> list[dict]:
    """Detections of many images as one list in COCO's result format.

    Args:
        predictions: Per image `img_id`, `bboxes` (N, 4) xyxy in pixels, `scores` (N,), `labels` (N,), and,
            optionally, `masks` (N run lengths) and `mask_scores` (N,).
        category_ids: Category id of each label.
    """
    results = []
    for prediction in predictions:
        boxes_xywh = np.array(prediction['bboxes'], dtype=np.float64).reshape(-1, 4)
        boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
        masks = prediction.get('masks')
        for index, (box, score, label) in enumerate(
            zip(boxes_xywh.tolist(), prediction['scores'].tolist(), prediction['labels'].tolist(), strict=True)
        ):
            result = dict(image_id=prediction['img_id'], category_id=category_ids[label], bbox=box, score=score)
            if masks is not None:
                result['segmentation'] = masks[index]
            if 'mask_scores' in prediction:
                result['mask_score'] = float(prediction['mask_scores'][index])
            results.append(result)
    return results


def compact_prediction(sample: dict) -> dict:
    """The predictions of one image, small enough to keep until the end: arrays, and masks as run lengths."""
    instances = sample['pred_instances']
    prediction = {key: _array(instances[key]) for key in ('bboxes', 'scores', 'labels')}
    prediction['img_id'] = sample['img_id']
    if 'mask_scores' in instances:
        prediction['mask_scores'] = _array(instances['mask_scores'])
    if 'masks' in instances:
        masks = instances['masks']
        if isinstance(masks, torch.Tensor):
            masks = encode_mask_results(masks.detach().cpu().numpy())
        prediction['masks'] = [
            {
                **mask,
                'counts': mask['counts'].decode() if isinstance(mask['counts'], bytes) else mask['counts'],
            }
            for mask in masks
        ]
    return prediction


def _array(values: torch.Tensor) -> np.ndarray:
    """A copy: the best of many candidates may be a view of all of them, and would keep them until the end."""
    return values.detach().cpu().numpy().copy()
