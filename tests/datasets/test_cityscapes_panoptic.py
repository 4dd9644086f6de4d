"""Cityscapes' panoptic files, made here as createPanopticImgs writes them, through data set and metric."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.registry import init_default_scope

import detrove.projects  # noqa: F401  registers every module
from detrove.datasets.cityscapes_panoptic import STUFF, THINGS

SIZE_HW = (40, 80)
# id in Cityscapes, name; stuff comes first in the file
CATEGORIES = ((7, 'road'), (8, 'sidewalk'), (23, 'sky'), (24, 'person'), (26, 'car'))


@pytest.fixture
def root(tmp_path):
    """One image: road below, sky above, two cars, one of them a crowd."""
    stem = 'aachen_000000_000019'
    ids = np.full(SIZE_HW, 7)
    ids[:20] = 23
    ids[22:30, 5:25] = 26001
    ids[22:30, 40:60] = 26
    segments = []
    for segment in np.unique(ids).tolist():
        rows, columns = np.nonzero(ids == segment)
        box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
        segments.append(dict(id=segment, category_id=segment // 1000 if segment > 999 else segment, bbox=box,
                             area=int((ids == segment).sum()), iscrowd=int(segment == 26)))
    things = {category: category >= 24 for category, _ in CATEGORIES}
    folder = tmp_path / 'gtFine/cityscapes_panoptic_val'
    (tmp_path / 'leftImg8bit/val/aachen').mkdir(parents=True)
    folder.mkdir(parents=True)
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    cv2.imwrite(str(folder / f'{stem}_gtFine_panoptic.png'), colours[..., ::-1])
    cv2.imwrite(str(tmp_path / f'leftImg8bit/val/aachen/{stem}_leftImg8bit.png'), np.zeros((*SIZE_HW, 3), np.uint8))
    content = dict(
        images=[dict(id=stem, width=SIZE_HW[1], height=SIZE_HW[0], file_name=f'{stem}_gtFine_leftImg8bit.png')],
        annotations=[dict(image_id=stem, file_name=f'{stem}_gtFine_panoptic.png', segments_info=segments)],
        categories=[dict(id=id_, name=name, isthing=int(things[id_]), supercategory='') for id_, name in CATEGORIES])
    (tmp_path / 'gtFine/cityscapes_panoptic_val.json').write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def dataset(root):
    init_default_scope('mmdet')
    return DATASETS.build(dict(
        type='CityscapesPanopticDataset', data_root=str(root), ann_file='gtFine/cityscapes_panoptic_val.json',
        data_prefix=dict(img='leftImg8bit/val/', seg='gtFine/cityscapes_panoptic_val/'), test_mode=True,
        metainfo=dict(classes=('person', 'car', 'road', 'sidewalk', 'sky'), thing_classes=('person', 'car'),
                      stuff_classes=('road', 'sidewalk', 'sky'), palette=[(0, 0, 0)] * 5),
        pipeline=[
            dict(type='LoadImageFromFile'), dict(type='LoadPanopticAnnotations'),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))]))


def test_things_come_first(dataset):
    """Labels as mmdet's heads number them: person 0, car 1, road 2, ..., whatever the order of the file."""
    sample = dataset[0]['data_samples']
    assert sample.gt_instances.labels.tolist() == [1]
    assert sample.gt_instances.masks.masks.sum() == 8 * 20
    found = sample.gt_sem_seg.sem_seg[0]
    assert found[0, 0] == 4 and found[39, 79] == 2 and found[23, 6] == 1 and found.unique().tolist() == [1, 2, 4]


def test_perfect_prediction_has_quality_one(dataset, root):
    metric = METRICS.build(dict(
        type='CityscapesPanopticMetric', ann_file=str(root / 'gtFine/cityscapes_panoptic_val.json'),
        seg_prefix=str(root / 'gtFine/cityscapes_panoptic_val/')))
    metric.dataset_meta = dataset.metainfo
    sample = dataset[0]['data_samples']
    predicted = sample.gt_sem_seg.sem_seg.clone().long()
    predicted[:, 22:30, 5:25] += 1000  # first instance; what lies on the crowd counts neither way
    for wrong, expected in ((False, 100.0), (True, 50.0)):
        if wrong:
            predicted[0, :20] = 3  # the sky taken for sidewalk: one category is missed, one wrong, two are right
        metric.process({}, [dict(pred_panoptic_seg=dict(sem_seg=predicted.clone()), **sample.metainfo)])
        assert metric.compute_metrics(metric.results)['PQ'] == pytest.approx(expected)
        metric.results.clear()


def test_all_classes():
    assert len(THINGS) == 8 and len(STUFF) == 11
    assert torch.tensor(DATASETS.get('CityscapesPanopticDataset').METAINFO['palette']).shape == (19, 3)
