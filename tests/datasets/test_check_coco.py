"""Mistakes in COCO json files, one at a time."""

import json
import time

import numpy as np
import pytest

from detrove.datasets.check import Severity, check_data
from detrove.datasets.check.coco_table import to_table

ERROR, WARNING, NOTE = Severity


def only(findings, kind, severity, count=1):
    assert list(findings) == [kind]
    assert (findings[kind].severity, findings[kind].count) == (severity, count)
    return findings[kind]


def test_a_clean_set_has_notes_alone(coco_folder):
    report = check_data(coco_folder.config())
    assert [finding.kind for finding in report.all_findings] == ['coco.images-without-objects'] * 2
    assert report.sources[0].facts == {'images': '4', 'objects': '6', 'classes': '2', 'image files read': '4 of 4'}


def test_file_that_is_cut_off(coco_folder):
    file = coco_folder.root / 'train.json'
    file.write_text(json.dumps(coco_folder.read(), indent=1)[:300])
    assert 'line ' in only(coco_folder.find(), 'coco.not-json', ERROR).message


@pytest.mark.parametrize('content', [[], {}, {'images': {}}, {'images': [], 'categories': [1], 'annotations': []}])
def test_json_that_is_not_coco(coco_folder, content):
    coco_folder.write('train', content)
    report = check_data(coco_folder.config(), splits=['train'])
    assert {finding.kind for finding in report.all_findings} == {'coco.not-coco'}
    assert report.number(ERROR) >= 1


def test_missing_keys_name_the_place(coco_folder):
    coco_folder.change(lambda content: content['images'][2].pop('width'))
    assert only(coco_folder.find(), 'coco.missing-key', ERROR).examples == ('images[2]',)


@pytest.mark.parametrize(('key', 'type_name', 'severity'), [
    ('area', 'CocoDetection', NOTE), ('area', 'CocoDataset', ERROR), ('iscrowd', 'CocoDataset', NOTE)])
def test_keys_that_only_some_need(coco_folder, key, type_name, severity):
    coco_folder.change(lambda content: [one.pop(key) for one in content['annotations']])
    settings = dict(type=type_name, metainfo=dict(classes=('cat', 'dog')))
    assert only(coco_folder.find(**settings), 'coco.missing-annotation-key', severity, 6)


@pytest.mark.parametrize(('key', 'kind'), [('images', 'image'), ('annotations', 'annotation')])
def test_repeated_ids(coco_folder, key, kind):
    coco_folder.change(lambda content: content[key][1].update(id=content[key][0]['id']))
    finding = coco_folder.find()[f'coco.duplicate-{kind}-id']
    assert (finding.severity, finding.count, finding.examples) == (ERROR, 1, ('id 1: 2 times',))


def test_repeated_file_names(coco_folder):
    coco_folder.change(lambda content: content['images'][1].update(file_name='train0.jpg'))
    only(coco_folder.find(), 'coco.duplicate-file-name', WARNING)


def test_unknown_images_and_categories(coco_folder):
    coco_folder.change_object(0, image_id=99)
    coco_folder.change_object(1, category_id=99)
    findings = coco_folder.find()
    assert findings['coco.unknown-image'].examples == ('annotation 1: image_id 99',)
    assert findings['coco.unknown-category'].examples == ('annotation 2: category_id 99',)


def test_ids_as_texts_and_as_numbers(coco_folder):
    coco_folder.change(lambda content: [one.update(image_id=str(one['image_id'])) for one in content['annotations']])
    finding = coco_folder.find()['coco.unknown-image']
    assert finding.count == 6
    assert 'numbers' in finding.message and 'texts' in finding.message


@pytest.mark.parametrize(('box', 'kind', 'severity'), [
    ([4, 5, float('nan'), 3], 'box-not-a-number', ERROR),
    ([4, 5, '7', 3], 'box-not-a-number', ERROR),
    ([4, 5, 7], 'box-not-a-number', ERROR),
    (None, 'box-not-a-number', ERROR),
    ([20, 20, -7, 3], 'box-negative', ERROR),
    ([20, 20, 0, 3], 'box-empty', WARNING),
    ([20, 20, 0.5, 3], 'box-thin', NOTE),
    ([70, 20, 5, 3], 'box-outside', ERROR),
    ([60, 20, 9, 30], 'box-overhanging', WARNING),
    ([-0.9, 10, 9, 30], None, None),
])
def test_boxes(coco_folder, box, kind, severity):
    coco_folder.change_object(0, bbox=box, area=1)
    findings = coco_folder.find()
    if kind is None:
        assert findings == {}
    else:
        assert 'annotation 1 of train0.jpg' in only(findings, f'coco.{kind}', severity).examples[0]


def test_boxes_as_corners_are_recognised(coco_folder):
    def to_corners(content):
        for one in content['annotations']:
            x, y, width, height = one['bbox']
            one['bbox'] = [x + 20, y + 24, x + 20 + width, y + 24 + height]

    coco_folder.change(to_corners)
    assert only(coco_folder.find(), 'coco.box-corners', ERROR, 6)


def test_boxes_as_parts_of_the_image_are_recognised(coco_folder):
    coco_folder.change(lambda content: [one.update(bbox=[0.1, 0.2, 0.5, 0.3]) for one in content['annotations']])
    assert coco_folder.find()['coco.box-normalised'].severity is ERROR


def test_the_same_object_twice(coco_folder):
    coco_folder.change(lambda content: content['annotations'].append(dict(content['annotations'][0], id=100)))
    only(coco_folder.find(), 'coco.box-repeated', WARNING)


@pytest.mark.parametrize(('area', 'kind'), [(0, 'area-nothing'), (-3, 'area-nothing'), (400, 'area-too-large')])
def test_areas(coco_folder, area, kind):
    coco_folder.change_object(0, area=area)
    only(coco_folder.find(), f'coco.{kind}', WARNING)


def test_crowds(coco_folder):
    coco_folder.change_object(0, iscrowd=2)
    only(coco_folder.find(), 'coco.crowd-value', ERROR)
    coco_folder.change(lambda content: [one.update(iscrowd=1) for one in content['annotations']])
    only(coco_folder.find(), 'coco.crowds', WARNING, 6)


@pytest.mark.parametrize(('mask', 'kind'), [
    ([], 'no-segmentation'), (None, 'no-segmentation'), ([[1, 2, 3, 4]], 'bad-polygons'), ([1, 2], 'bad-polygons'),
    (dict(size=[48, 64]), 'bad-run-lengths'), (dict(size=[64, 48], counts='0'), 'run-lengths-of-another-size'),
])
def test_masks_where_they_are_asked_for(coco_folder, mask, kind):
    coco_folder.change_object(0, segmentation=mask)
    only(coco_folder.find(pipeline=[dict(type='LoadAnnotations', with_mask=True)]), f'coco.mask-{kind}', ERROR)
    assert f'coco.mask-{kind}' not in coco_folder.find()


def test_masks_for_evaluation(coco_folder):
    coco_folder.change_object(0, 'val', segmentation=[])
    config = coco_folder.config()
    config.val_evaluator.metric = ['bbox', 'segm']
    assert check_data(config).number(ERROR) == 1


def test_a_set_without_objects(coco_folder):
    coco_folder.change(lambda content: content.update(annotations=[]))
    only(coco_folder.find(), 'coco.no-objects', ERROR, 4)


def test_names_that_the_file_lacks(coco_folder):
    report = check_data(coco_folder.config(metainfo=dict(classes=('Dog', 'cat'))), splits=['train'])
    (finding,) = (one for one in report.all_findings if one.severity is ERROR)
    assert (finding.kind, finding.count) == ('classes.absent', 1)
    assert finding.examples == ("Dog (the file has 'dog')",)
    assert '2: Dog, cat' in finding.message and '2: cat, dog' in finding.message


def test_head_of_another_number(coco_folder):
    config = coco_folder.config()
    config.model.bbox_head.num_classes = 80
    (finding,) = (one for one in check_data(config).all_findings if one.severity is ERROR)
    assert finding.where == 'model.bbox_head.num_classes'
    assert '80' in finding.message and '2 classes: dog, cat' in finding.message


def test_order_of_names_counts_for_mmdet(coco_folder):
    report = check_data(coco_folder.config(type='CocoDataset'), splits=['train'])
    (finding,) = (one for one in report.all_findings if one.severity is ERROR)
    assert finding.examples == ('cat is read as dog', 'dog is read as cat')


def test_classes_left_out_and_classes_without_objects(coco_folder):
    coco_folder.change(lambda content: content['categories'].append(dict(id=9, name='bird')))
    assert only(coco_folder.find(), 'classes.left-out', NOTE).examples == ('bird',)
    coco_folder.change(lambda content: [one.update(category_id=7) for one in content['annotations']])
    assert coco_folder.find()['classes.without-objects'].severity is WARNING


def test_densest_image(coco_folder):
    config = coco_folder.config()
    config.model.num_queries = 1
    config.model.test_cfg = dict(max_per_img=1)
    found = {one.where: one for one in check_data(config).all_findings if one.kind == 'capacity.densest-image'}
    assert set(found) == {'model.num_queries', 'model.test_cfg.max_per_img'}
    assert found['model.test_cfg.max_per_img'].examples == ('val0.jpg: 2 objects',)


def test_evaluator_with_another_file(coco_folder):
    config = coco_folder.config()
    config.val_evaluator.ann_file = str(coco_folder.root / 'train.json')
    assert 'config.other-annotation-file' in {one.kind for one in check_data(config).all_findings}
    config.val_evaluator.ann_file = 'nowhere.json'
    assert 'layout.no-annotation-file' in {one.kind for one in check_data(config).all_findings}


def test_test_set_without_annotations(coco_folder):
    coco_folder.change(lambda content: content.pop('annotations'), 'val')
    config = coco_folder.config()
    config.val_evaluator.format_only = True
    assert check_data(config).number(ERROR) == 0


def test_wrappers_lead_to_the_data(coco_folder):
    config = coco_folder.config()
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=dict(
        type='ConcatDataset', datasets=[inner, dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=inner)]))
    paths = [one.source.path for one in check_data(config, splits=['train']).sources]
    outer = 'train_dataloader.dataset.dataset.datasets'
    assert paths == [f'{outer}.0', f'{outer}.1.dataset']


def test_a_type_that_is_not_known_is_named(coco_folder):
    config = coco_folder.config()
    config.train_dataloader.dataset = dict(type='VOCDataset', ann_file='train.txt')
    (finding,) = check_data(config, splits=['train']).all_findings
    assert (finding.severity, finding.kind) == (NOTE, 'config.unchecked-type')
    assert 'VOCDataset' in finding.message
    config.train_dataloader.dataset = dict(type='NoSuchDataset')
    assert check_data(config, splits=['train']).number(ERROR) == 1


def test_lvis_takes_file_names_from_the_url(coco_folder):
    def to_lvis(content):
        for image in content['images']:
            image['coco_url'] = f'http://images.cocodataset.org/train/{image.pop("file_name")}'
        content['categories'] = [dict(id=i + 1, name=f'name {i}') for i in range(1203)]
        for one in content['annotations']:
            del one['iscrowd']

    coco_folder.change(to_lvis)
    config = coco_folder.config(type='LVISV1Dataset', metainfo={}, data_prefix=dict(img=''))
    config.model.bbox_head.num_classes = 1203
    report = check_data(config, splits=['train'])
    assert report.number(ERROR) == 0
    assert report.sources[0].facts['image files read'] == '4 of 4'


def test_fifty_thousand_annotations_take_seconds(coco_folder, tmp_path):
    images = [dict(id=i, file_name=f'{i}.jpg', width=640, height=480) for i in range(1000)]
    boxes = np.random.default_rng(0).integers([0, 0, 1, 1], [300, 200, 340, 280], (50_000, 4)).tolist()
    annotations = [dict(id=i + 1, image_id=i % 1000, category_id=3, bbox=box, area=1, iscrowd=0)
                   for i, box in enumerate(boxes)]
    content = dict(images=images, annotations=annotations, categories=[dict(id=3, name='cat')])
    start = time.process_time()
    table = to_table(tmp_path / 'x.json', content, image_names=[image['file_name'] for image in images])
    assert len(table.annotations) == 50_000
    coco_folder.write('train', content)
    check_data(coco_folder.config(metainfo=dict(classes=('cat',))), splits=['train'], images=0)
    assert time.process_time() - start < 10
