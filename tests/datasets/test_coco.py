import json
import pickle

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import TRANSFORMS
from PIL import Image

from detrove.datasets import CocoDetection

CATEGORIES = [dict(id=7, name='dog'), dict(id=3, name='cat'), dict(id=90, name='bird')]


def annotation(index, image_id, category_id, bbox, **more):
    return dict(id=index, image_id=image_id, category_id=category_id, bbox=bbox, **more)


@pytest.fixture
def data_root(tmp_path):
    (tmp_path / 'images').mkdir()
    images = []
    for index, (width, height) in enumerate([(100, 50), (41, 77), (64, 64), (20, 20)], 1):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / f'images/{index}.png')
        images.append(dict(id=index * 10, file_name=f'{index}.png', width=width, height=height))
    annotations = [
        annotation(1, 10, 3, [10, 10, 20, 20]),
        annotation(2, 10, 7, [-5, 40, 30, 30]),
        annotation(3, 10, 90, [1, 1, 0.5, 9]),
        annotation(4, 20, 90, [0, 0, 5, 5], iscrowd=1),
        annotation(5, 30, 7, [200, 200, 10, 10]),
        annotation(6, 30, 90, [3, 4, 5, 6]),
    ]
    write(tmp_path, dict(images=images, annotations=annotations, categories=CATEGORIES))
    return tmp_path


def write(root, content):
    (root / 'train.json').write_text(content if isinstance(content, str) else json.dumps(content))


def load(root):
    return json.loads((root / 'train.json').read_text())


def build(root, classes=None, **options):
    options = dict(ann_file='train.json', data_prefix=dict(img='images')) | options
    return CocoDetection(
        data_root=str(root), metainfo=None if classes is None else dict(classes=classes), **options
    )


def names(dataset):
    """What each box is called, by its top left corner, so that a mixed-up label shows."""
    classes = dataset.metainfo['classes']
    return {
        tuple(item['bbox'][:2]): classes[item['bbox_label']]
        for index in range(len(dataset))
        for item in dataset.get_data_info(index)['instances']
    }


@pytest.mark.parametrize(
    'classes', [('cat', 'dog', 'bird'), ('bird', 'dog', 'cat'), ('dog', 'cat', 'bird'), None]
)
def test_names_decide_whatever_the_order_of_ids(data_root, classes):
    dataset = build(data_root, classes)
    assert dataset.metainfo['classes'] == (classes or ('dog', 'cat', 'bird'))
    id_of = {category['name']: category['id'] for category in CATEGORIES}
    assert dataset.cat_ids == [id_of[name] for name in dataset.metainfo['classes']]
    assert names(dataset) == {(10, 10): 'cat', (0, 40): 'dog', (0, 0): 'bird', (3, 4): 'bird'}


def test_a_subset_of_the_categories_may_be_chosen(data_root):
    dataset = build(data_root, ('bird',))
    assert names(dataset) == {(0, 0): 'bird', (3, 4): 'bird'}
    assert len(dataset) == 4, 'images without objects stay'


def test_boxes_are_clipped_and_thin_ones_left_out_and_counted(data_root, monkeypatch):
    lines = []
    monkeypatch.setattr('detrove.datasets.coco.print_log', lambda message, *_: lines.append(message))
    dataset = build(data_root)
    assert len(lines) == 1 and '2 boxes' in lines[0] and 'in 2 images' in lines[0]
    assert [item['bbox'] for item in dataset.get_data_info(0)['instances']] == [
        [10, 10, 30, 30],
        [0, 40, 25, 50],
    ]


def test_crowds_and_ignored_objects_are_flagged(data_root):
    content = load(data_root)
    content['annotations'][0]['ignore'] = True
    write(data_root, content)
    dataset = build(data_root)
    flags = [
        [item['ignore_flag'] for item in dataset.get_data_info(index)['instances']] for index in range(4)
    ]
    assert flags == [[1, 0], [1], [0], []]


def test_filter(data_root):
    def ids(**filter_cfg):
        dataset = build(data_root, filter_cfg=filter_cfg)
        return [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))]

    assert ids(filter_empty_gt=False) == [10, 20, 30, 40]
    assert ids(filter_empty_gt=True) == [10, 30]
    assert ids(min_size=50) == [10, 30]
    with pytest.raises(ValueError, match='none of the 4 images'):
        ids(min_size=500)
    with pytest.raises(ValueError, match='min_szie'):
        ids(min_szie=3)


def test_survives_pickling_and_is_lazy(data_root):
    dataset = pickle.loads(pickle.dumps(build(data_root)))
    assert dataset.get_data_info(0)['height'] == 50
    lazy = build(data_root / 'nowhere', lazy_init=True)
    with pytest.raises(FileNotFoundError):
        lazy.full_init()


def test_coco_gets_its_usual_palette(data_root):
    content = load(data_root)
    classes = CocoDataset.METAINFO['classes']
    content['categories'] = [dict(id=index, name=name) for index, name in enumerate(reversed(classes), 3)]
    content['annotations'] = content['annotations'][:2]
    write(data_root, content)
    assert build(data_root, classes).metainfo['palette'] == CocoDataset.METAINFO['palette']


def test_test_sets_may_lack_annotations(data_root):
    content = load(data_root)
    del content['annotations']
    write(data_root, content)
    assert len(build(data_root, test_mode=True)) == 4
    with pytest.raises(ValueError, match='annotations'):
        build(data_root)


def test_missing_annotation_file_says_where_it_looked(data_root):
    with pytest.raises(FileNotFoundError, match=rf'{data_root}/val\.json.*Expected layout'):
        build(data_root, ann_file='val.json')


@pytest.mark.parametrize(
    'content, found',
    [
        ('not json', 'is not COCO json'),
        ([1], 'a list'),
        (dict(pictures=[]), 'pictures'),
        (dict(images=[], annotations=[], categories=[]), 'lists no images'),
    ],
)
def test_file_that_is_not_coco_says_what_was_found(data_root, content, found):
    write(data_root, content)
    with pytest.raises(ValueError, match=found):
        build(data_root)


def test_classes_that_do_not_match_print_both_lists(data_root):
    with pytest.raises(
        ValueError, match=r"\['horse'\].*\n.*\['dog', 'horse'\].*\n.*\['dog', 'cat', 'bird'\]"
    ):
        build(data_root, ('dog', 'horse'))


def test_a_forgotten_comma_in_classes_is_an_error(data_root):
    with pytest.raises(ValueError, match=r"\('bird',\)"):
        build(data_root, ('bird'))


def test_twice_named_categories(data_root):
    content = load(data_root)
    content['categories'].insert(0, dict(id=0, name='bird'))  # a super-category of the same name, never used
    write(data_root, content)
    assert build(data_root, ('bird',)).cat_ids == [90]
    content['annotations'][0]['category_id'] = 0
    write(data_root, content)
    with pytest.raises(ValueError, match='several categories'):
        build(data_root, ('bird',))


def test_dangling_ids_are_errors(data_root):
    content = load(data_root)
    content['annotations'][0]['category_id'] = 1234
    write(data_root, content)
    with pytest.raises(ValueError, match='1234'):
        build(data_root)
    content['annotations'][0].update(category_id=7, image_id=4321)
    write(data_root, content)
    with pytest.raises(ValueError, match='4321'):
        build(data_root)


@pytest.mark.parametrize('key, field', [('images', 'width'), ('annotations', 'bbox'), ('categories', 'name')])
def test_entries_that_lack_a_field_are_named(data_root, key, field):
    content = load(data_root)
    del content[key][1][field]
    write(data_root, content)
    with pytest.raises(ValueError, match=f'"{key}" lacks .*{field}'):
        build(data_root)


def test_missing_images_are_named(data_root):
    with pytest.raises(FileNotFoundError, match='No image folder'):
        build(data_root, data_prefix=dict(img='pictures'))
    (data_root / 'images/2.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of the 4 images.*2\.png'):
        build(data_root)


def test_training_needs_objects_and_masks_where_they_are_loaded(data_root):
    loading = TRANSFORMS.build(dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True))
    with pytest.raises(ValueError, match='4 of 4 objects'):
        build(data_root, pipeline=[loading])
    content = load(data_root)
    content['annotations'] = []
    write(data_root, content)
    with pytest.raises(ValueError, match='no object'):
        build(data_root)
    assert len(build(data_root, test_mode=True)) == 4
