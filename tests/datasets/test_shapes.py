import dataclasses
import hashlib
import json
import multiprocessing

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS as SEG_DATASETS
from pycocotools import mask as rle

from detrove.datasets import ShapesDataset, shapes, shapes_dataset
from detrove.datasets.shapes import ensure_shapes
from detrove.datasets.shapes_drawing import CLASSES, DISTRACTORS, Shape, ShapesSettings, draw

SMALL = ShapesSettings(num_train=8, num_val=4)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return ensure_shapes(tmp_path_factory.mktemp('data') / 'shapes', SMALL)


def content(root, split='train'):
    return json.loads((root / f'annotations/{split}.json').read_text())


def test_objects_are_the_same_on_every_machine():
    settings = ShapesSettings(
        seed=1,
        num_train=1,
        num_val=1,
        sizes_hw=((320, 320), (300, 200)),
        empty_fraction=0.05,
        num_objects=(3, 9),
        diameter=(20, 210),
        num_distractors=(3, 8),
        distractor_diameter=(16, 110),
        min_visible=0.5,
        min_visible_px=60,
        contrast=48,
        texture_contrast=45,
        noise=14,
    )
    drawings = [draw(settings, split_index=0, image_index=index) for index in range(12)]
    everything = b''.join(
        bytes(drawing.labels) + np.packbits(drawing.masks).tobytes() for drawing in drawings
    )
    assert hashlib.sha256(everything).hexdigest()[:16] == '218737663e5ff699', (
        'a change of the drawing needs a new VERSION'
    )


def test_default_set_has_every_class_size_and_empty_images():
    drawings = [draw(ShapesSettings(), split_index=0, image_index=index) for index in range(80)]
    areas = np.array([mask.sum() for drawing in drawings for mask in drawing.masks])
    shares = np.mean(areas < 32**2), np.mean((areas >= 32**2) & (areas < 96**2)), np.mean(areas >= 96**2)
    assert shares[0] > 0.25 and shares[1] > 0.35 and shares[2] > 0.04
    assert {label for drawing in drawings for label in drawing.labels} == set(range(len(CLASSES)))
    assert any(not drawing.labels for drawing in drawings)
    assert len({drawing.image_bgr.shape for drawing in drawings}) == 3
    for drawing in drawings:
        assert drawing.image_bgr.shape[:2] == drawing.masks.shape[1:]
        assert drawing.masks.sum(0, dtype=int).max(initial=0) <= 1, 'visible parts are disjoint'


def test_splits_and_images_differ():
    first, second, other = (
        draw(SMALL, split_index=split, image_index=index).image_bgr
        for split, index in ((0, 0), (0, 1), (1, 0))
    )
    assert first.shape != second.shape or (first != second).any()
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize('kind', [*CLASSES, *DISTRACTORS])
@pytest.mark.parametrize('angle', [0.0, 0.7, 4.0])
def test_shape_stays_within_its_radius(kind, angle):
    shape = Shape(kind, (100.0, 80.0), 40.0, angle)
    y, x = np.nonzero(shape.inside)
    distance = np.hypot(x + shape.left + 0.5 - 100, y + shape.top + 0.5 - 80)
    assert shape.area > 200 and distance.max() <= 42


@pytest.mark.parametrize(
    'kind, share',
    [
        ('circle', 1),
        ('square', 0.98 * 2 / np.pi),
        ('ring', 1 - 0.55**2),
        ('triangle', 3 * 3**0.5 / 4 / np.pi),
    ],
)
def test_shape_has_the_area_of_its_formula(kind, share):
    assert Shape(kind, (0.0, 0.0), 80.0, 1.0).area == pytest.approx(share * np.pi * 80**2, rel=0.01)


def test_files_agree_with_each_other(root):
    data = content(root)
    assert [category['name'] for category in data['categories']] == list(CLASSES)
    for image in data['images']:
        pixels = cv2.imread(str(root / 'images/train' / image['file_name']))
        label_map = cv2.imread(
            str(root / 'annotations_semantic/train' / image['file_name']).replace('.jpg', '.png'),
            cv2.IMREAD_UNCHANGED,
        )
        assert pixels.shape[:2] == label_map.shape == (image['height'], image['width'])
        expected = np.zeros_like(label_map)
        for item in data['annotations']:
            if item['image_id'] == image['id']:
                mask = rle.decode(item['segmentation']).astype(bool)
                expected[mask] = item['category_id']
                y, x = np.nonzero(mask)
                assert item['bbox'] == [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
                assert item['area'] == mask.sum() >= SMALL.min_visible_px
        np.testing.assert_array_equal(label_map, expected)


def test_existing_set_is_left_alone(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    ensure_shapes(root, SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob('*')}


def test_damaged_set_is_drawn_anew(tmp_path):
    root = ensure_shapes(tmp_path / 'shapes', SMALL)
    (root / 'images/train/000003.jpg').unlink()
    ensure_shapes(root, SMALL)
    assert (root / 'images/train/000003.jpg').is_file()


def test_interrupted_drawing_leaves_nothing_under_the_final_name(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shapes, '_write_image', interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure_shapes(tmp_path / 'shapes', SMALL)
    assert not (tmp_path / 'shapes').exists()
    (tmp_path / '.shapes.partial/images').mkdir(parents=True)  # as a killed process leaves it
    assert len(content(ensure_shapes(tmp_path / 'shapes', SMALL))['images']) == SMALL.num_train
    assert not (tmp_path / '.shapes.partial').exists()


def test_users_files_are_never_overwritten(tmp_path):
    (tmp_path / 'shapes').mkdir()
    (tmp_path / 'shapes/holiday.jpg').write_text('mine')
    for force in (False, True):
        with pytest.raises(FileExistsError, match='not made by'):
            ensure_shapes(tmp_path / 'shapes', SMALL, force=force)
    root = ensure_shapes(tmp_path / 'other', SMALL)
    (root / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='notes.txt'):
        ensure_shapes(root, SMALL, force=True)


def test_set_of_other_settings_is_replaced_only_by_force(tmp_path):
    root = ensure_shapes(tmp_path / 'shapes', SMALL)
    fewer = dataclasses.replace(SMALL, num_train=2)
    with pytest.raises(FileExistsError, match='--force'):
        ensure_shapes(root, fewer)
    assert len(content(ensure_shapes(root, fewer, force=True))['images']) == 2


def _draw_in_another_process(root, queue):
    queue.put(ensure_shapes(root, SMALL).name)


def test_processes_starting_at_once_agree(tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [
        context.Process(target=_draw_in_another_process, args=(tmp_path / 'shapes', queue)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == ['shapes'] * 3
    for process in processes:
        process.join()
    assert {path.name for path in tmp_path.iterdir()} <= {'shapes', '.shapes.lock'}
    assert shapes._is_complete(tmp_path / 'shapes', SMALL)


def test_data_sets_draw_on_first_use(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, 'ShapesSettings', lambda: SMALL)
    detection = ShapesDataset(
        data_root=str(tmp_path / 'shapes'),
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/train'),
    )
    assert len(detection) == 8 and detection.metainfo['classes'] == CLASSES
    semantic = SEG_DATASETS.build(
        dict(
            type='mmseg.ShapesSegDataset',
            data_root=str(tmp_path / 'shapes'),
            data_prefix=dict(img_path='images/val', seg_map_path='annotations_semantic/val'),
            pipeline=[dict(type='mmseg.LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
        )
    )
    assert isinstance(semantic, shapes_dataset.ShapesSegDataset) and len(semantic) == 4
    label_map = semantic[0]['gt_seg_map']
    assert set(np.unique(label_map)) <= {*range(len(CLASSES)), 255} and (label_map == 255).any()


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shapes, 'ShapesSettings', lambda: SMALL)
    assert shapes.main(['--root', str(tmp_path / 'shapes')]) == 0
    assert '8 train, 4 val' in capsys.readouterr().out
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/file').write_text('')
    assert shapes.main(['--root', str(tmp_path / 'mine')]) == 1
    assert 'not made by' in capsys.readouterr().err
