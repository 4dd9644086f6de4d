"""Predictions from the files that `tools/test.py --out` writes."""

import io
import json
import pickle
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detrove.checkpoints.restricted_pickle import ARRAYS, RestrictedUnpickler

from .test_set import TestSet


def read_results(file: Path, test_set: TestSet) -> list[dict]:
    """Predictions per image, as `PredictionCollector` keeps them.

    A json file lists detections alone; the images of the test set that it does not name count as images in which
    nothing was found.

    Args:
        file: COCO results (json) or mmdet's dump (pkl).

    Raises:
        ValueError: if the file is neither, or a pickle that holds more than arrays.
    """
    if file.suffix == '.json':
        images = _from_coco(file, test_set.category_ids)
        named = {one['img_id'] for one in images}
        return images + [_empty(img_id) for img_id in test_set.image_paths if img_id not in named]
    return [_from_sample(sample, file) for sample in _unpickle(file)]


def _from_coco(file: Path, category_ids: Sequence[int]) -> list[dict]:
    try:
        results = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{file} is not json: {error}') from error
    if not isinstance(results, list) or any(not {'image_id', 'bbox', 'score', 'category_id'} <= set(one)
                                            for one in results):
        raise ValueError(f'{file} is not a list of COCO results (image_id, category_id, bbox, score)')
    label_of = {category: label for label, category in enumerate(category_ids)}
    by_image = defaultdict(list)
    for one in results:
        if one['category_id'] in label_of:
            by_image[one['image_id']].append(one)
    images = []
    for img_id, found in by_image.items():
        boxes = np.array([one['bbox'] for one in found], dtype=np.float64)
        boxes[:, 2:] += boxes[:, :2]
        image = dict(img_id=img_id, bboxes=boxes, scores=np.array([one['score'] for one in found]),
                     labels=np.array([label_of[one['category_id']] for one in found]))
        if all('segmentation' in one for one in found):
            image['masks'] = [one['segmentation'] for one in found]
        images.append(image)
    return images


def _empty(img_id: int) -> dict:
    none = np.zeros(0)
    return dict(img_id=img_id, bboxes=np.zeros((0, 4)), scores=none, labels=none.astype(np.int64), masks=[])


def _from_sample(sample: Mapping, file: Path) -> dict:
    if 'pred_instances' not in sample:
        raise ValueError(f'{file} holds no detections: its samples have {", ".join(map(str, sample))}. Reports of '
                         'segmentation are made from a work directory.')
    found = sample['pred_instances']
    image = dict(img_id=sample['img_id'], **{key: np.asarray(found[key]) for key in ('bboxes', 'scores', 'labels')})
    if 'masks' in found:
        image['masks'] = [{**mask, 'counts': mask['counts'].decode() if isinstance(mask['counts'], bytes)
                           else mask['counts']} for mask in found['masks']]
    return image


def _unpickle(file: Path) -> list:
    with file.open('rb') as stream:
        try:
            content = _Unpickler(stream).load()
        except (EOFError, AttributeError, pickle.UnpicklingError) as error:
            raise ValueError(f'{file} cannot be read: {error}') from error
    if not isinstance(content, list):
        raise ValueError(f'{file} holds a {type(content).__name__}, not the list that tools/test.py --out writes')
    return content


class _Unpickler(RestrictedUnpickler):
    """Reads tensors too, as mmdet's dump of predictions holds them."""

    allowed = ARRAYS | {
        ('torch._utils', '_rebuild_tensor_v2'),
        ('torch', 'device'),
        ('torch', 'Size'),
        ('numpy._core.numeric', '_frombuffer'),
        ('numpy.core.numeric', '_frombuffer'),
    }

    def find_class(self, module: str, name: str):
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return _load_storage
        return super().find_class(module, name)


def _load_storage(content: bytes):
    import torch

    return torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
