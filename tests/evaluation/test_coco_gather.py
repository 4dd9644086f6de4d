"""Predictions of several ranks, and boxes evaluated on arrays."""

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from torch import distributed

from detrove.benchmark.data_made import CLASSES, make_annotations, make_predictions
from detrove.datasets.json_bytes import to_json
from detrove.evaluation import CocoEvaluation


def evaluate(predictions, ann_file, **options):
    metric = CocoEvaluation(ann_file=ann_file, classwise=False, **options)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, predictions)
    return metric.evaluate(len(predictions))


def one_rank(rank, folder):
    torch.set_num_threads(1)  # the parent's pool of threads is not there after a fork
    distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    content = make_annotations(5, 40, polygons=False)
    predictions = make_predictions(content, 12)
    # uneven, one image on both ranks and one twice on one
    mine = [predictions[0], predictions[2], predictions[3], predictions[2]] if rank == 0 else predictions[3:] + [
        predictions[1], predictions[0], predictions[1]]
    for name, some in (('some', mine), ('none_on_one', predictions if rank else [])):
        torch.save(evaluate(some, f'{folder}/truth.json'), f'{folder}/{name}{rank}.pt')
    distributed.destroy_process_group()


def test_two_ranks_give_what_one_gives(tmp_path):
    content = make_annotations(5, 40, polygons=False)
    (tmp_path / 'truth.json').write_bytes(to_json(content))
    expected = evaluate(make_predictions(content, 12), str(tmp_path / 'truth.json'))
    assert 0 < expected['coco/bbox_mAP'] < 1
    multiprocessing.start_processes(one_rank, (str(tmp_path),), nprocs=2, start_method='fork')
    for name in ('some', 'none_on_one'):
        for rank in range(2):
            assert torch.load(tmp_path / f'{name}{rank}.pt') == expected


def test_masks_travel_too():
    from detrove.evaluation.coco_gather import _pack, _unpack

    prediction = dict(img_id='a', bboxes=np.ones((2, 4), np.float32), scores=np.array([0.5, 0.25]),
                      labels=np.array([1, 2]), masks=[dict(size=[3, 4], counts='1a')] * 2)
    empty = dict(img_id=3, bboxes=np.ones((0, 4), np.float32), scores=np.zeros(0), labels=np.zeros(0, int))
    for given, back in zip([prediction, empty], _unpack(_pack([prediction, empty])), strict=True):
        assert given.keys() == back.keys()
        for name, value in given.items():
            np.testing.assert_array_equal(value, back[name])
            assert getattr(value, 'dtype', None) == getattr(back[name], 'dtype', None)
    assert _unpack(_pack([])) == []


def test_arrays_equal_pycocotools_with_crowds_ties_and_many_detections(tmp_path):
    content = make_annotations(12, 150, polygons=False)
    rng = np.random.default_rng(0)
    for annotation in content['annotations']:  # few classes, many crowds, equal boxes
        annotation['category_id'] = 1 + annotation['category_id'] % 3
        annotation['iscrowd'] = int(rng.random() < 0.2)
        annotation['bbox'] = [round(side / 60) * 60.0 + 30 for side in annotation['bbox']]
    predictions = make_predictions(content, 150)
    for prediction in predictions:
        instances = prediction['pred_instances']
        instances['scores'] = (instances['scores'] * 8).round() / 8
        instances['bboxes'] = (instances['bboxes'] / 30).round() * 30
        instances['labels'] = instances['labels'] % 3
    (tmp_path / 'truth.json').write_bytes(to_json(content))
    ours, theirs = (evaluate(predictions, str(tmp_path / 'truth.json'), max_dets=20, backend=backend)
                    for backend in ('faster_coco_eval', 'pycocotools'))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert abs(ours[name] - value) < 1e-12, name
    assert 0 < ours['coco/bbox_mAP'] < 1
