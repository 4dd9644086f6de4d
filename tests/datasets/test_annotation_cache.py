import copy
import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from detrove.datasets import CocoDetection, annotation_cache, json_bytes


@pytest.fixture(autouse=True)
def small_files_too(monkeypatch):
    monkeypatch.setattr(annotation_cache, 'MIN_BYTES', 0)
    monkeypatch.setattr(annotation_cache, 'SETTLED_S', 0)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'user'))
    (tmp_path / 'images').mkdir()
    images = [dict(id=f'a{i}', file_name=f'{i}.png', width=40 + i, height=30) for i in range(4)]
    for image in images:
        Image.new('L', (1, 1)).save(tmp_path / 'images' / image['file_name'])
    annotations = [
        dict(id=i, image_id=f'a{i % 3}', category_id=5 + i % 2, bbox=[i, 2.5, 10.1, 7], iscrowd=int(i == 4),
             segmentation=[[1, 2, 3.5, 4, 5, 6]] if i else dict(size=[30, 40], counts='abc'))
        for i in range(6)]
    annotations.append(dict(id=9, image_id='a0', category_id=5, bbox=[0, 0, 0.5, 4], segmentation=[]))
    categories = [dict(id=6, name='cat'), dict(id=5, name='dog')]
    write(tmp_path, dict(images=images, annotations=annotations, categories=categories))
    return tmp_path


def write(root, content):
    (root / 'train.json').write_text(json.dumps(content))


def build(root, classes=('dog', 'cat'), **options):
    return CocoDetection(data_root=str(root), ann_file='train.json', data_prefix=dict(img='images'),
                         metainfo=dict(classes=classes) if classes else None, **options)


def entries(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def caches(folder):
    return sorted(folder.glob('*.records'))


@pytest.fixture
def reads(monkeypatch):
    """How often the annotation file was parsed."""
    calls = []
    read = CocoDetection._read
    monkeypatch.setattr(CocoDetection, '_read', lambda self: calls.append(1) or read(self))
    return calls


def test_a_cache_gives_what_the_file_gives(root, reads):
    plain = build(root, annotation_cache=False)
    first, second = build(root), build(root)
    assert len(reads) == 2
    assert entries(plain) == entries(first) == entries(second)
    assert first.metainfo == second.metainfo and first.cat_ids == second.cat_ids == [5, 6]
    assert second.get_data_info(-1)['sample_idx'] == 3
    masks = [instance['mask'] for instance in second.get_data_info(0)['instances']]
    assert masks == [dict(size=[30, 40], counts='abc'), [[1, 2, 3.5, 4, 5, 6]]]
    np.testing.assert_array_equal(second.image_sizes_hw(), [(30, 40), (30, 41), (30, 42), (30, 43)])
    with pytest.raises(IndexError):
        second.get_data_info(4)


def test_without_msgspec_the_entries_are_the_same(root, monkeypatch):
    pytest.importorskip('msgspec')
    fast = entries(build(root, annotation_cache=False))
    monkeypatch.setattr(json_bytes, 'msgspec', None)
    monkeypatch.setattr('detrove.datasets.coco_file.msgspec', None)
    assert entries(build(root, annotation_cache=False)) == fast


def test_other_options_and_a_changed_file_are_read_anew(root, reads):
    build(root)
    assert names(build(root, classes=('cat',))) == {'cat'}
    assert build(root, classes=None).metainfo['classes'] == ('cat', 'dog')
    assert build(root, classes=None).metainfo['classes'] == ('cat', 'dog')
    assert len(build(root, filter_cfg=dict(filter_empty_gt=True))) == 3
    assert len(build(root, indices=2)) == 2 == len(build(root, indices=2))
    assert len(reads) == 5 and len(caches(root / '.detrove_cache')) == 5
    content = json.loads((root / 'train.json').read_text())
    times = os.stat(root / 'train.json')
    content['annotations'][0]['bbox'][0] = 7  # as many bytes, and the same time of modification
    write(root, content)
    os.utime(root / 'train.json', ns=(times.st_atime_ns, times.st_mtime_ns))
    assert build(root).get_data_info(0)['instances'][0]['bbox'][0] == 7
    assert len(caches(root / '.detrove_cache')) == 5, 'the old one is replaced'


def names(dataset):
    return {dataset.metainfo['classes'][x['bbox_label']] for entry in entries(dataset) for x in entry['instances']}


def test_another_version_reads_anew(root, reads, monkeypatch):
    build(root)
    monkeypatch.setattr(annotation_cache, '__version__', '999')
    build(root)
    assert len(reads) == 2


@pytest.mark.parametrize('damage', [lambda data: data[:-5], lambda data: data[:20], lambda data: b'',
                                    lambda data: b'\x80\x04' + data[2:], lambda data: data[:90] + b'x' + data[91:],
                                    lambda data: data + b' '])
def test_a_cut_or_foreign_cache_is_replaced(root, reads, damage):
    expected = entries(build(root))
    (cache,) = caches(root / '.detrove_cache')
    cache.write_bytes(damage(cache.read_bytes()))
    assert entries(build(root)) == expected and len(reads) == 2
    assert entries(build(root)) == expected and len(reads) == 2, 'repaired'


def test_where_the_folder_cannot_be_written(root, reads, monkeypatch):
    (root / '.detrove_cache').write_text('in the way')
    build(root)
    build(root)
    assert len(reads) == 1 and len(caches(root / 'user/detrove/annotations')) == 1
    (root / 'file').write_text('')
    lines = []
    monkeypatch.setattr(annotation_cache, 'print_log', lambda message, *_: lines.append(message))
    for _ in range(2):
        assert len(build(root, annotation_cache=str(root / 'file'))) == 4
    assert len(lines) == 2 and 'not cached' in lines[0] and len(reads) == 3
    build(root, annotation_cache=str(root / 'elsewhere'))
    assert len(caches(root / 'elsewhere')) == 1


def test_checks_are_made_from_a_cache_too(root, monkeypatch):
    lines = []
    monkeypatch.setattr('detrove.datasets.coco.print_log', lambda message, *_: lines.append(message))
    build(root)
    build(root)
    assert len(lines) == 2 and lines[0] == lines[1] and '1 boxes' in lines[0]
    (root / 'images/2.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of the 4 images.*2\.png'):
        build(root)


def test_small_and_fresh_files_are_not_cached(root, monkeypatch):
    monkeypatch.setattr(annotation_cache, 'SETTLED_S', 60)
    build(root)
    assert not caches(root / '.detrove_cache')
    monkeypatch.setattr(annotation_cache, 'MIN_BYTES', 2**20)
    monkeypatch.setattr(annotation_cache, 'SETTLED_S', 0)
    build(root)
    assert not caches(root / '.detrove_cache')


def test_processes_share_the_records(root):
    dataset = build(root)
    sent = pickle.dumps(dataset)
    assert len(sent) < len(dataset.data_bytes) + 4000 and dataset.data_bytes.tobytes() not in sent
    assert entries(pickle.loads(sent)) == entries(dataset)
    assert isinstance(dataset.data_bytes.base, np.memmap) and not dataset.data_bytes.flags.writeable
    subset = dataset.get_subset([2, 0])
    assert [entry['img_id'] for entry in entries(pickle.loads(pickle.dumps(subset)))] == ['a2', 'a0']
    np.testing.assert_array_equal(subset.image_sizes_hw(), [(30, 42), (30, 40)])


@pytest.mark.parametrize('cached', [True, False])
def test_copies_share_the_records(root, cached):
    dataset = build(root, annotation_cache=cached)
    again = copy.deepcopy(dataset)
    assert again._records is dataset._records and again.data_bytes is dataset.data_bytes
    assert again.data_address is dataset.data_address
    assert entries(again) == entries(dataset)


def test_subclasses_that_change_entries_are_not_cached(root):
    class Own(CocoDetection):
        def load_data_list(self):
            return [entry | dict(more=np.arange(2)) for entry in super().load_data_list()]

    dataset = Own(data_root=str(root), ann_file='train.json', data_prefix=dict(img='images'))
    assert dataset.get_data_info(1)['more'].tolist() == [0, 1] and not (root / '.detrove_cache').exists()
    assert dataset.get_data_info(1)['instances'][0]['mask'] == [[1, 2, 3.5, 4, 5, 6]]
