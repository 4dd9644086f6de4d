"""`detrove infer`: what it writes, and what it does with bad input."""

import csv
import json

import cv2
import numpy as np
import pytest

from detrove.cli import main


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def infer(trained, *words):
    config, checkpoint = trained
    return main(['infer', str(config), str(checkpoint), *map(str, words)])


def test_every_format_holds_the_same_detections(trained, coco_folder, tmp_path):
    assert infer(trained, coco_folder / 'images', '--format', 'draw,coco,yolo,csv', '--score-thr', '0',
                 '--batch-size', '3', '--out', 'found') == 0
    out = tmp_path / 'found'
    content = json.loads((out / 'coco.json').read_text())
    assert [image['file_name'] for image in content['images']] == ['0.png', '1.png', '2.png', '3.png']
    assert content['categories'] == [dict(id=1, name='dog'), dict(id=2, name='cat')]
    detections = content['annotations']
    assert detections

    with (out / 'detections.csv').open(newline='') as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(detections)
    for row, detection in zip(rows, detections, strict=True):
        assert row['image'] == content['images'][detection['image_id'] - 1]['file_name']
        assert row['class'] == content['categories'][detection['category_id'] - 1]['name']
        left, top, width, height = detection['bbox']
        corners = [float(row[key]) for key in ('x1', 'y1', 'x2', 'y2')]
        np.testing.assert_allclose(corners, [left, top, left + width, top + height], atol=0.006)

    lines = (out / 'yolo' / '0.txt').read_text().splitlines()
    assert len(lines) == sum(row['image'] == '0.png' for row in rows)
    label, x, y, width, height, score = map(float, lines[0].split())
    np.testing.assert_allclose(
        [(x - width / 2) * 64, (y - height / 2) * 64, width * 64, height * 64], detections[0]['bbox'], atol=1e-3)
    assert label == detections[0]['category_id'] - 1 and score == pytest.approx(detections[0]['score'], abs=1e-6)
    assert (out / 'yolo' / 'classes.names').read_text() == 'dog\ncat\n'

    drawn = cv2.imread(str(out / 'draw' / '0.png'))
    assert drawn.shape == (64, 64, 3)
    assert (drawn != cv2.imread(str(coco_folder / 'images' / '0.png'))).any()


def test_unreadable_images_are_named_and_skipped(trained, coco_folder, tmp_path, capsys):
    bad = tmp_path / 'bad.png'
    bad.write_bytes(b'no image')
    assert infer(trained, coco_folder / 'images' / '0.png', bad, coco_folder / 'images' / '1.png', '--format', 'csv',
                 '--score-thr', '0') == 1
    printed = capsys.readouterr()
    assert 'bad.png cannot be read as an image' in printed.err
    assert '1 of 3 images could not be read' in printed.err
    written = next((tmp_path / 'work_dirs').rglob('detections.csv')).read_text()
    assert '0.png' in written and '1.png' in written


def test_nothing_is_replaced_unless_told(trained, coco_folder, tmp_path, capsys):
    image = coco_folder / 'images' / '0.png'
    (tmp_path / 'found').mkdir()
    (tmp_path / 'found' / 'coco.json').write_text('mine')
    assert infer(trained, image, '--format', 'coco', '--out', 'found') == 1
    assert 'pass --overwrite' in capsys.readouterr().err
    assert (tmp_path / 'found' / 'coco.json').read_text() == 'mine'
    assert infer(trained, image, '--format', 'coco', '--out', 'found', '--overwrite') == 0
    assert json.loads((tmp_path / 'found' / 'coco.json').read_text())['images']


@pytest.mark.parametrize('words, message', [
    (['nowhere/*.png'], 'nowhere/*.png: no image there'),
    (['IMAGE', '--format', 'xml'], 'format xml: choose from draw, map, coco, yolo, csv'),
    (['IMAGE', '--format', 'map'], 'this model predicts none'),
    (['IMAGE', '--fuse'], 'has no inference form'),
    (['IMAGE', '--batch-size', '0'], 'not a whole number of at least 1'),
    (['IMAGE', '--score-thr', '3'], 'not a number from 0 to 1'),
])
def test_wrong_usage(trained, coco_folder, capsys, words, message):
    words = [coco_folder / 'images' / '0.png' if word == 'IMAGE' else word for word in words]
    assert infer(trained, *words) in (1, 2)
    assert message in capsys.readouterr().err


def test_the_same_checkpoint_twice_and_tiles(trained, coco_folder, tmp_path):
    assert infer(trained, coco_folder / 'images' / '0.png', '--format', 'csv', '--score-thr', '0', '--out', 'found',
                 '--tile', '48', '--batch-size', '4', '--checkpoints', trained[1]) == 0
    assert len((tmp_path / 'found' / 'detections.csv').read_text().splitlines()) > 1


def test_segmentor(segmentation_config, coco_folder, tmp_path):
    import torch

    from detrove.apis import build_model

    config = segmentation_config()
    torch.save(dict(state_dict=build_model(config).state_dict()), 'weights.pth')
    image = coco_folder / 'images' / '0.png'
    assert infer((config, 'weights.pth'), image, '--format', 'draw,map', '--out', 'found') == 0
    labels = cv2.imread(str(tmp_path / 'found' / 'map' / '0.png'), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (64, 64) and labels.max() < 2
    drawn = cv2.imread(str(tmp_path / 'found' / 'draw' / '0.png')).astype(int)
    colours = np.array([[0, 0, 255], [255, 0, 0]])[labels]  # BGR
    assert np.abs(drawn - (0.4 * cv2.imread(str(image)) + 0.6 * colours)).max() <= 1
    assert infer((config, 'weights.pth'), image, '--format', 'csv', '--out', 'other') == 1
    assert not (tmp_path / 'other').exists()
