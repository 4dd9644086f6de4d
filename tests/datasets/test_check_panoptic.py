"""Mistakes between the json of segments and the PNG files of panoptic data."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from detrove.datasets import CityscapesPanopticDataset
from detrove.datasets.check import Severity, check_data

ERROR, WARNING, NOTE = Severity
SIZE_WH = (64, 48)
METAINFO = dict(classes=('cat', 'grass'), thing_classes=('cat',), stuff_classes=('grass',))


class PanopticFolder:
    """Two images, each half cat, half grass; segment ids that need all three channels."""

    def __init__(self, root):
        self.root = root
        for folder in ('images', 'pngs'):
            (root / folder).mkdir(parents=True)
        images, annotations = [], []
        for index in range(2):
            ids = np.full(SIZE_WH[::-1], 1 + 256 * 2 + 65536 * 3)
            ids[:, 32:] = 7
            self.write_png(index, ids)
            Image.new('RGB', SIZE_WH).save(root / f'images/{index}.jpg')
            images.append(dict(id=index, file_name=f'{index}.jpg', width=SIZE_WH[0], height=SIZE_WH[1]))
            segments = [dict(id=197121, category_id=1, area=32 * 48, bbox=[0, 0, 32, 48], iscrowd=0),
                        dict(id=7, category_id=2, area=32 * 48, bbox=[32, 0, 32, 48], iscrowd=0)]
            annotations.append(dict(image_id=index, file_name=f'{index}.png', segments_info=segments))
        categories = [dict(id=1, name='cat', isthing=1), dict(id=2, name='grass', isthing=0)]
        self.content = dict(images=images, annotations=annotations, categories=categories)

    def write_png(self, index, ids):
        channels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1)
        Image.fromarray(channels.astype(np.uint8)).save(self.root / f'pngs/{index}.png')

    def segment(self, image=0, place=0):
        return self.content['annotations'][image]['segments_info'][place]

    def check(self, **model):
        (self.root / 'panoptic.json').write_text(json.dumps(self.content))
        dataset = dict(type='CocoPanopticDataset', data_root=str(self.root), ann_file='panoptic.json',
                       data_prefix=dict(img='images', seg='pngs'), metainfo=METAINFO, pipeline=[])
        head = dict(type='Mask2FormerHead', num_things_classes=1, num_stuff_classes=1, num_queries=100)
        return check_data(Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset),
                                      model=dict(type='Mask2Former', panoptic_head=dict(head, **model)))))

    def find(self, **model):
        return {finding.kind: finding for finding in self.check(**model).all_findings}


@pytest.fixture
def folder(tmp_path):
    return PanopticFolder(tmp_path / 'panoptic_set')


def test_a_clean_set_has_nothing(folder):
    report = folder.check()
    assert report.all_findings == []
    assert report.sources[0].facts['segments'] == '4'


def test_missing_pngs(folder):
    (folder.root / 'pngs/1.png').unlink()
    assert folder.find()['panoptic.no-png'].count == 1


def test_pngs_that_differ_from_the_json(folder):
    ids = np.full(SIZE_WH[::-1], 7)
    ids[:3] = 9
    folder.write_png(0, ids)
    findings = folder.find()
    assert [kind for kind, one in findings.items() if one.severity is ERROR] == [
        'panoptic.unlisted-ids', 'panoptic.absent-ids']
    assert '[9]' in findings['panoptic.unlisted-ids'].examples[0]
    assert '[197121]' in findings['panoptic.absent-ids'].examples[0]
    assert findings['panoptic.other-area'].severity is WARNING


def test_pngs_of_another_kind(folder):
    Image.new('L', SIZE_WH).save(folder.root / 'pngs/0.png')
    Image.new('RGB', (30, 20)).save(folder.root / 'pngs/1.png')
    assert {'panoptic.not-rgb', 'panoptic.other-size'} <= set(folder.find())


def test_segments(folder):
    folder.segment(0, 0).update(category_id=9)
    folder.segment(1, 0).update(bbox=[0, 0, 0, 5])
    folder.content['annotations'].append(dict(image_id=8, segments_info=[]))
    folder.content['annotations'][1]['segments_info'].append(dict(folder.segment(1, 1)))
    findings = folder.find()
    assert {'panoptic.unknown-category', 'panoptic.box', 'panoptic.unknown-image', 'panoptic.duplicate-segment'} == \
        set(findings)


@pytest.mark.parametrize('key', ['id', 'area'])
def test_missing_keys_of_segments(folder, key):
    del folder.segment()[key]
    finding = folder.find()['panoptic.missing-key']
    assert finding.examples == ('segments_info[0] of image 0',)


def test_a_file_of_instances(folder):
    folder.content['annotations'] = [dict(id=1, image_id=0, category_id=1, bbox=[0, 0, 3, 3])]
    assert 'file of instances' in folder.find()['panoptic.missing-key'].message


def test_heads_names_and_queries(folder):
    assert folder.find(num_things_classes=80)['classes.head'].where == 'model.panoptic_head.num_things_classes'
    assert folder.find(num_queries=1)['capacity.densest-image'].count == 2
    folder.content['categories'][1]['name'] = 'gras'
    assert folder.find()['classes.absent'].examples == ('grass',)


def test_order_of_categories(folder):
    folder.content['categories'].reverse()
    assert folder.find()['classes.order'].severity is ERROR


def test_cityscapes_has_folders_of_cities_and_puts_things_first(tmp_path):
    root = tmp_path / 'cityscapes'
    for place in ('images/ulm', 'pngs'):
        (root / place).mkdir(parents=True)
    Image.new('RGB', SIZE_WH).save(root / 'images/ulm/ulm_1_leftImg8bit.png')
    Image.new('RGB', SIZE_WH, (7, 0, 0)).save(root / 'pngs/ulm_1_gtFine_panoptic.png')
    names = [(name, 0) for name in CityscapesPanopticDataset.METAINFO['stuff_classes']]
    names += [(name, 1) for name in CityscapesPanopticDataset.METAINFO['thing_classes']]
    segment = dict(id=7, category_id=3, area=SIZE_WH[0] * SIZE_WH[1], bbox=[0, 0, *SIZE_WH])
    content = dict(
        images=[dict(id='ulm_1', file_name='ulm_1_leftImg8bit.png', width=SIZE_WH[0], height=SIZE_WH[1])],
        annotations=[dict(image_id='ulm_1', file_name='ulm_1_gtFine_panoptic.png', segments_info=[segment])],
        categories=[dict(id=i, name=name, isthing=is_thing) for i, (name, is_thing) in enumerate(names)])
    (root / 'panoptic.json').write_text(json.dumps(content))
    dataset = dict(type='CityscapesPanopticDataset', data_root=str(root), ann_file='panoptic.json',
                   data_prefix=dict(img='images', seg='pngs'), pipeline=[])
    report = check_data(Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset))))
    assert report.all_findings == []
    assert report.sources[0].facts['image files read'] == '1 of 1'
