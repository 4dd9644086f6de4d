"""LVIS's numbers, against those of the lvis package."""

import json

import numpy as np
import pytest
import torch

from detrove.datasets import CocoDetection
from detrove.evaluation import LvisEvaluation

#: of `written` and `predictions`, by LVISEval of lvis 0.5.3 (with `np.float = float`, which it needs on NumPy 2)
LVIS_PACKAGE = {
    'mAP': 0.18725641792738287,
    'mAP_50': 0.4399888362417148,
    'mAP_75': 0.12430837497240121,
    'mAP_s': 0.27757656456508856,
    'mAP_m': 0.19347341558777828,
    'mAP_l': 0.28634253805864096,
    'mAP_r': 0.1758126333194171,
    'mAP_c': 0.18450099015924568,
    'mAP_f': 0.20145563030348582,
    'AR@300': 0.7396693970399213,
    'AR_s@300': 0.7187878787878788,
    'AR_m@300': 0.7546648027898027,
    'AR_l@300': 0.71,
}


def written(folder):
    """An LVIS file of 30 images and 12 categories, not all of them looked for in every image."""
    rng = np.random.default_rng(0)
    categories = [dict(id=index + 1, name=f'kind {index}', frequency='rcf'[index % 3]) for index in range(12)]
    images, annotations = [], []
    for index in range(30):
        kinds = rng.permutation(12) + 1
        images.append(dict(
            id=index + 5, width=400, height=300, coco_url=f'http://images.cocodataset.org/val2017/{index:012d}.jpg',
            neg_category_ids=kinds[4:8].tolist(), not_exhaustive_category_ids=kinds[:2].tolist()))
        for kind in kinds[rng.integers(4, size=rng.integers(1, 9))].tolist():
            width, height = np.exp(rng.uniform(np.log(10), np.log(200), size=2)).round(1).tolist()
            x, y = (rng.random(2) * [400 - width, 300 - height]).round(1).tolist()
            annotations.append(dict(id=len(annotations) + 1, image_id=index + 5, category_id=kind, area=width * height,
                                    bbox=[x, y, width, height], segmentation=[[x, y, x + width, y, x, y + height]]))
    file = folder / 'lvis.json'
    file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return file


def predictions(file):
    """320 detections an image, some of them near its objects, so that the limit of 300 matters."""
    rng = np.random.default_rng(1)
    content = json.loads(file.read_text())
    for image in content['images']:
        of_image = [one for one in content['annotations'] if one['image_id'] == image['id']]
        found = [of_image[index] for index in rng.integers(len(of_image), size=320)]
        boxes_xywh = np.array([one['bbox'] for one in found])
        boxes_xywh += boxes_xywh[:, [2, 3, 2, 3]] * rng.normal(size=(320, 4)) * 0.15
        labels = np.where(rng.random(320) < 0.5, [one['category_id'] - 1 for one in found], rng.integers(12, size=320))
        boxes_xyxy = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:].clip(1)], axis=1)
        yield dict(img_id=image['id'], pred_instances=dict(
            bboxes=torch.tensor(boxes_xyxy), labels=torch.tensor(labels), scores=torch.tensor(rng.random(320))))


@pytest.fixture
def file(tmp_path):
    return written(tmp_path)


def evaluation(file, **options):
    metric = LvisEvaluation(ann_file=str(file), **options)
    metric.dataset_meta = dict(classes=[f'kind {index}' for index in range(12)])
    return metric


def test_numbers_are_those_of_the_lvis_package(file):
    metric = evaluation(file)
    metric.process({}, list(predictions(file)))
    numbers = metric.evaluate(30)
    assert numbers.keys() == {f'lvis/bbox_{name}' for name in LVIS_PACKAGE}
    for name, value in LVIS_PACKAGE.items():
        assert numbers[f'lvis/bbox_{name}'] == pytest.approx(value, abs=1e-9), name


def test_files_of_coco_are_refused(file):
    content = json.loads(file.read_text())
    del content['images'][3]['neg_category_ids']
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='lacks neg_category_ids'):
        evaluation(file)


def test_the_data_set_finds_images_by_their_url(file):
    (file.parent / 'val2017').mkdir()
    for index in range(30):
        (file.parent / f'val2017/{index:012d}.jpg').touch()
    data = CocoDetection(data_root=str(file.parent), ann_file='lvis.json', data_prefix=dict(img=''), pipeline=[])
    assert data.get_data_info(3)['img_path'].endswith('val2017/000000000003.jpg')
    assert data.metainfo['classes'] == tuple(f'kind {index}' for index in range(12))
