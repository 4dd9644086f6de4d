"""Cutting a COCO data set into tiles: where boxes and masks end up, and what is refused."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle_masks

from detrove.cli import main
from detrove.datasets.convert_tiles import TileSettings, clip_box, clip_polygon, cut_dataset, polygon_area
from detrove.inference.tiles import Tile

SIZE_HW = (100, 180)
POLYGON = [70.0, 10, 130, 10, 130, 50, 70, 50]  # crosses x = 100, where the tiles of 100 pixels of no overlap meet


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'images' / 'a').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'images' / 'a' / 'x.png'), rng.integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8))
    mask = np.zeros(SIZE_HW, np.uint8, order='F')
    mask[60:90, 75:85] = 1
    rle = rle_masks.encode(mask)
    rle['counts'] = rle['counts'].decode()
    annotations = [
        dict(id=5, image_id=3, category_id=2, bbox=[10, 10, 20, 30], area=600, iscrowd=0),
        dict(id=6, image_id=3, category_id=2, bbox=[70, 10, 60, 40], area=2400, iscrowd=0, segmentation=[POLYGON]),
        dict(id=7, image_id=3, category_id=4, bbox=[75, 60, 10, 30], area=300, iscrowd=1, segmentation=rle),
    ]
    content = dict(images=[dict(id=3, file_name='a/x.png', width=180, height=100)], annotations=annotations,
                   categories=[dict(id=2, name='dog'), dict(id=4, name='cat')], info=dict(year=2026))
    (tmp_path / 'train.json').write_text(json.dumps(content))
    return tmp_path


def cut(dataset, **settings):
    force = settings.pop('force', False)
    written = cut_dataset(dataset / 'train.json', dataset / 'images', dataset / 'out',
                          TileSettings(**dict(dict(tile=100, overlap=0.0), **settings)), force=force)
    return json.loads(written.read_text())


def test_pixels_boxes_and_masks(dataset):
    content = cut(dataset)  # tiles start at x = 0 and 80: evenly spread, 20 pixels in common
    assert [image['source'] for image in content['images']] == [
        dict(image_id=3, left=0, top=0), dict(image_id=3, left=80, top=0)]
    whole = cv2.imread(str(dataset / 'images' / 'a' / 'x.png'))
    assert content['images'][1]['file_name'] == 'a/x_80_0.png'
    assert (cv2.imread(str(dataset / 'out' / 'images' / 'a' / 'x_80_0.png')) == whole[:, 80:]).all()

    first, second = ([one for one in content['annotations'] if one['image_id'] == image] for image in (1, 2))
    assert [one['bbox'] for one in first] == [[10, 10, 20, 30], [70, 10, 30, 40], [75, 60, 10, 30]]
    assert [one['bbox'] for one in second] == [[0, 10, 50, 40], [0, 60, 5, 30]]
    assert first[1]['area'] == 30 * 40 and second[0]['area'] == 50 * 40
    assert polygon_area(np.reshape(second[0]['segmentation'][0], (-1, 2))) == 50 * 40
    part = rle_masks.decode(second[1]['segmentation'])
    assert part.shape == (100, 100) and part[60:90, :5].all() and part.sum() == 150
    assert [one['id'] for one in content['annotations']] == [1, 2, 3, 4, 5]
    assert content['categories'][1] == dict(id=4, name='cat') and content['info'] == dict(year=2026)


def test_little_of_an_object_is_ignored(dataset):
    content = cut(dataset, min_share=0.6)  # half of the polygon is in the first tile, five sixths in the second
    assert [(one['image_id'], one['category_id'], one['iscrowd']) for one in content['annotations']] == [
        (1, 2, 0), (1, 2, 1), (1, 4, 1), (2, 2, 0), (2, 4, 1)]


def test_empty_tiles_can_be_left_out(dataset):
    assert len(cut(dataset, tile=50, overlap=0.0)['images']) == 8
    kept = cut(dataset, tile=50, overlap=0.0, drop_empty=True, force=True)
    counted = {one['image_id'] for one in kept['annotations'] if not one['iscrowd']}
    assert counted == {image['id'] for image in kept['images']} and len(kept['images']) < 8


def test_polygon_that_leaves_and_comes_back():
    tile = Tile(10, 0, 20, 20)
    triangle = np.array([[0.0, 0], [20, 10], [0, 20]])
    inside = clip_polygon(triangle, tile)
    assert polygon_area(inside) == pytest.approx(50)
    assert inside.min() >= 0 and inside[:, 0].max() <= 10
    assert len(clip_polygon(triangle - (100, 0), tile)) == 0
    assert clip_box([0, 0, 5, 5], tile) is None and clip_box([5, 5, 10, 10], tile) == [0, 5, 5, 10]


def test_command(dataset, capsys):
    words = ['convert-dataset', 'tiles', str(dataset / 'train.json'), '--images', str(dataset / 'images'), '--out',
             str(dataset / 'out'), '--tile', '100', '--overlap', '0']
    assert main(words) == 0
    assert '2 tiles, 3 objects, 2 ignored' in capsys.readouterr().out
    assert main(words) == 1
    assert 'Already there' in capsys.readouterr().err
    assert main([*words[:4], str(dataset), *words[5:], '--force']) == 1
    assert '--images names the folder' in capsys.readouterr().err
    assert main([*words, '--force', '--min-share', '2']) == 1
    assert 'min_share 2.0: expected 0 to 1' in capsys.readouterr().err


def test_size_that_is_not_the_stated_one(dataset):
    cv2.imwrite(str(dataset / 'images' / 'a' / 'x.png'), np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(ValueError, match='is 60 x 50 pixels, and the annotations say 180 x 100'):
        cut(dataset)
