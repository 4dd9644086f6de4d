"""CocoEvaluation against pycocotools' own summary, its backends against each other, unusual inputs."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_tools

from detrove.evaluation import CocoEvaluation, CocoResultsWriter

CLASSES = ('dog', 'cat', 'bird')  # not the order of the ids below
IDS = {'cat': 3, 'dog': 7, 'bird': 20}
SIZE = 200


def make_ground_truth(rng, num_images=8):
    images, annotations = [], []
    for image_id in range(1, num_images + 1):
        images.append(dict(id=image_id, file_name=f'{image_id}.png', height=SIZE, width=SIZE))
        if image_id == 2:
            continue  # an image without objects
        for _ in range(6):
            width, height = (int(side) for side in rng.choice([12, 40, 110], 2))
            x, y = int(rng.integers(0, SIZE - width)), int(rng.integers(0, SIZE - height))
            polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=int(rng.choice([3, 7])),  # no birds
                    bbox=[x, y, width, height],
                    area=width * height,
                    iscrowd=int(rng.random() < 0.1),
                    segmentation=[polygon],
                )
            )
    categories = [dict(id=index, name=name) for name, index in IDS.items()]
    return dict(images=images, annotations=annotations, categories=categories)


def make_prediction(truth, image_id, rng, num_noise=150):
    """True boxes, shaken, beside random ones; more than 100 of one class so that the limit matters."""
    anns = [ann for ann in truth['annotations'] if ann['image_id'] == image_id]
    true_xywh = np.array([ann['bbox'] for ann in anns], dtype=np.float64).reshape(-1, 4)
    noise_xy = rng.uniform(0, SIZE - 30, (num_noise, 2))
    noise_xywh = np.concatenate([noise_xy, rng.uniform(10, 30, (num_noise, 2))], axis=1)
    boxes = np.concatenate([true_xywh + rng.normal(0, 2, true_xywh.shape), noise_xywh])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1) + boxes[:, :2]
    by_id = {index: label for label, index in enumerate(IDS[name] for name in CLASSES)}
    labels = [by_id[ann['category_id']] for ann in anns] + [0] * num_noise
    masks = torch.zeros(len(boxes), SIZE, SIZE, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int).clip(0, SIZE), strict=True):
        mask[y1:y2, x1:x2] = True
    instances = dict(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        scores=torch.tensor(rng.permutation(len(boxes)) / len(boxes), dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=masks,
    )
    return dict(img_id=image_id, pred_instances=instances, ori_shape=(SIZE, SIZE))


def without_instances(prediction):
    instances = {key: value[:0] for key, value in prediction['pred_instances'].items()}
    return {**prediction, 'pred_instances': instances}


@pytest.fixture
def truth():
    return make_ground_truth(np.random.default_rng(0))


@pytest.fixture
def predictions(truth):
    rng = np.random.default_rng(1)
    return [make_prediction(truth, image['id'], rng) for image in truth['images']]


@pytest.fixture
def ann_file(truth, tmp_path):
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(truth))
    return str(path)


def evaluate(predictions, ann_file, classes=CLASSES, **options):
    metric = CocoEvaluation(ann_file=ann_file, **options)
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, predictions)
    return metric.evaluate(len(predictions))


def reference_stats(predictions, ann_file, iou_type, max_dets):
    """The twelve numbers of pycocotools' own summary, from its own result loading."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = []
    for prediction in predictions:
        instances = prediction['pred_instances']
        for box, score, label, mask in zip(
            instances['bboxes'].double(),
            instances['scores'],
            instances['labels'],
            instances['masks'],
            strict=True,
        ):
            result = dict(image_id=prediction['img_id'], score=float(score), category_id=IDS[CLASSES[label]])
            if iou_type == 'bbox':
                x1, y1, x2, y2 = box.tolist()
                result['bbox'] = [x1, y1, x2 - x1, y2 - y1]
            else:
                result['segmentation'] = mask_tools.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            results.append(result)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(ann_file)
        evaluator = COCOeval(truth, truth.loadRes(results), iou_type)
        evaluator.params.maxDets = max_dets
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@pytest.mark.parametrize('backend', ['pycocotools', 'faster_coco_eval'])
@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_equals_the_summary_of_pycocotools(predictions, ann_file, backend, iou_type):
    ours = evaluate(predictions, ann_file, metric=iou_type, max_dets=100, backend=backend)
    stats = reference_stats(predictions, ann_file, iou_type, [1, 10, 100]).stats
    names = ['mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', 'AR@1', 'AR@10', 'AR@100']
    names += ['AR_s@100', 'AR_m@100', 'AR_l@100']
    assert 0.1 < stats[0] < 0.9
    for name, expected in zip(names, stats, strict=True):
        assert ours[f'coco/{iou_type}_{name}'] == pytest.approx(expected, abs=1e-12), name


def test_the_limit_is_reported_under_its_own_label(predictions, ann_file):
    ours = evaluate(predictions, ann_file, max_dets=300)
    assert ours['coco/bbox_mAP'] == evaluate(predictions, ann_file, max_dets=100)['coco/bbox_mAP']
    assert ours['coco/bbox_mAP@300'] > ours['coco/bbox_mAP']
    assert ours['coco/bbox_AR@300'] > ours['coco/bbox_AR@100']
    precision = reference_stats(predictions, ann_file, 'bbox', [1, 10, 300]).eval['precision'][..., 0, 2]
    assert ours['coco/bbox_mAP@300'] == pytest.approx(precision[precision > -1].mean(), abs=1e-12)


def test_backends_agree_on_every_number(predictions, ann_file):
    fast, slow = (
        evaluate(predictions, ann_file, metric=['bbox', 'segm'], max_dets=300, backend=backend)
        for backend in ('faster_coco_eval', 'pycocotools')
    )
    assert fast == pytest.approx(slow, abs=1e-12)


def test_names_decide_not_the_order_of_the_file(predictions, ann_file):
    ours = evaluate(predictions, ann_file)
    label_order = (1, 0, 2)
    relabelled = []
    for prediction in predictions:
        instances = dict(prediction['pred_instances'])
        instances['labels'] = torch.tensor(label_order)[instances['labels']]
        relabelled.append({**prediction, 'pred_instances': instances})
    assert evaluate(relabelled, ann_file, classes=('cat', 'dog', 'bird')) == ours


@pytest.mark.parametrize('backend', ['pycocotools', 'faster_coco_eval'])
def test_no_detections_score_zero(predictions, ann_file, backend):
    empty = [without_instances(prediction) for prediction in predictions]
    ours = evaluate(empty, ann_file, metric=['bbox', 'segm'], backend=backend)
    assert ours['coco/bbox_mAP'] == ours['coco/segm_mAP'] == ours['coco/bbox_AR@100'] == 0


@pytest.mark.parametrize('backend', ['pycocotools', 'faster_coco_eval'])
def test_no_ground_truth_is_minus_one(predictions, truth, tmp_path, backend):
    path = tmp_path / 'empty.json'
    path.write_text(json.dumps({**truth, 'annotations': []}))
    ours = evaluate(predictions, str(path), metric=['bbox', 'segm'], backend=backend)
    assert set(ours.values()) == {-1.0}


def test_annotations_without_area_and_iscrowd(predictions, truth, tmp_path):
    bare = [{key: ann[key] for key in ('id', 'image_id', 'category_id', 'bbox')} for ann in truth['annotations']]
    path = tmp_path / 'bare.json'
    path.write_text(json.dumps({**truth, 'annotations': bare}))
    assert evaluate(predictions, str(path))['coco/bbox_mAP'] > 0.1


def test_subset_of_the_images_is_evaluated_alone(predictions, truth, tmp_path, ann_file):
    path = tmp_path / 'half.json'
    kept = {1, 2, 3}
    half = [ann for ann in truth['annotations'] if ann['image_id'] in kept]
    path.write_text(json.dumps({**truth, 'images': truth['images'][:3], 'annotations': half}))
    assert evaluate(predictions[:3], ann_file) == evaluate(predictions[:3], str(path))


def test_wrong_class_names_list_both_sides(ann_file):
    metric = CocoEvaluation(ann_file=ann_file)
    with pytest.raises(ValueError, match=r"(?s)\['horse'\].*\['dog', 'horse'\].*\['cat', 'dog', 'bird'\]"):
        metric.dataset_meta = dict(classes=('dog', 'horse'))


def test_not_coco_json_is_refused(tmp_path):
    path = tmp_path / 'x.json'
    with pytest.raises(FileNotFoundError, match='x.json'):
        CocoEvaluation(ann_file=str(path))
    path.write_text('[1, 2]')
    with pytest.raises(ValueError, match='lacks annotations, categories, images'):
        CocoEvaluation(ann_file=str(path))
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match='x.json is not json'):
        CocoEvaluation(ann_file=str(path))


def test_foreign_images_are_refused(predictions, ann_file):
    with pytest.raises(ValueError, match=r'ids \[99\]'):
        evaluate([{**predictions[0], 'img_id': 99}], ann_file)


def test_written_results_evaluate_to_the_same_ap(predictions, ann_file, tmp_path):
    class Dataset:
        cat_ids = tuple(IDS[name] for name in CLASSES)

    out = tmp_path / 'deep' / 'results.json'
    writer = CocoResultsWriter(out_file=str(out), dataset=Dataset())
    writer.process({}, predictions)
    assert writer.evaluate(len(predictions)) == {}
    results = json.loads(out.read_text())
    assert {'image_id', 'category_id', 'bbox', 'score', 'segmentation'} == set(results[0])

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(ann_file)
        evaluator = COCOeval(truth, truth.loadRes(str(out)), 'bbox')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    assert evaluator.stats[0] == pytest.approx(evaluate(predictions, ann_file)['coco/bbox_mAP'], abs=1e-12)
