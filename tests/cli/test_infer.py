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


@pytest.fixture(scope='module')
def clip(coco_folder, tmp_path_factory):
    """A video of three frames, 48 x 64, 5 in a second."""
    file = tmp_path_factory.mktemp('videos') / 'clip.avi'
    stream = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for index in range(3):
        stream.write(cv2.imread(str(coco_folder / 'images' / f'{index}.png'))[:48])
    stream.release()
    return file


def frames_of(file):
    capture = cv2.VideoCapture(str(file))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


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
    assert '1 of 3 files could not be read' in printed.err
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


def test_video_and_image(trained, coco_folder, clip, tmp_path, capsys):
    assert infer(trained, clip, coco_folder / 'images' / '0.png', '--format', 'draw,coco,csv,yolo', '--score-thr', '0',
                 '--batch-size', '2', '--out', 'found') == 0
    assert '4 images and frames: ' in capsys.readouterr().out
    out = tmp_path / 'found'
    drawn, fps = frames_of(out / 'draw' / 'clip.mp4')
    given, _ = frames_of(clip)
    assert len(drawn) == 3 and fps == 5 and drawn[0].shape == (48, 64, 3)
    for one, other in zip(drawn, given, strict=True):
        assert 0 < np.abs(one.astype(int) - other).mean() < 80  # the same picture, with drawings and another codec

    content = json.loads((out / 'coco.json').read_text())
    assert content['videos'] == [dict(id=1, name='clip.avi')]
    assert [(image['file_name'], image.get('video_id'), image.get('frame_id')) for image in content['images']] == [
        ('clip/000000.png', 1, 0), ('clip/000001.png', 1, 1), ('clip/000002.png', 1, 2), ('0.png', None, None)]
    with (out / 'detections.csv').open(newline='') as stream:
        rows = list(csv.DictReader(stream))
    assert {(row['image'], row['frame']) for row in rows} == {
        ('clip.avi', '0'), ('clip.avi', '1'), ('clip.avi', '2'), ('0.png', '')}
    assert (out / 'yolo' / 'clip' / '000002.txt').exists()


def test_unreadable_video(trained, clip, tmp_path, capsys):
    (tmp_path / 'bad.mp4').write_bytes(b'no video' * 100)
    assert infer(trained, 'bad.mp4', clip, '--format', 'csv', '--out', 'found') == 1
    printed = capsys.readouterr()
    assert 'skipped: bad.mp4 cannot be read as a video' in printed.err and 'ffmpeg -i bad.mp4' in printed.err
    assert '1 of 2 files could not be read' in printed.err and '3 images and frames' in printed.out


def test_camera(trained, clip, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setattr('sys.platform', 'linux')
    assert infer(trained, '--webcam', '0') == 1
    assert '--webcam 0: there is no display' in capsys.readouterr().err
    assert infer(trained, clip, '--webcam', '0') == 2

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', lambda source: real(str(clip) if source == 0 else source))
    assert infer(trained, '--webcam', '0', '--format', 'csv', '--score-thr', '0', '--out', 'found') == 0
    printed = capsys.readouterr()
    assert 'what is found goes to found until Ctrl+C' in printed.err and '3 frames' in printed.out

    shown = []
    monkeypatch.setattr('detrove.inference.videos.missing_display', lambda: None)
    monkeypatch.setattr(cv2, 'imshow', lambda title, image: shown.append(image))
    monkeypatch.setattr(cv2, 'waitKey', lambda delay: ord('q') if len(shown) == 2 else -1)
    monkeypatch.setattr(cv2, 'getWindowProperty', lambda title, what: 1.0)
    assert infer(trained, '--webcam', '0') == 0  # shown, not written
    assert [image.shape for image in shown] == [(48, 64, 3)] * 2 and not (tmp_path / 'work_dirs').exists()


def test_test_time_augmentation(trained, coco_folder, tmp_path, capsys):
    image = coco_folder / 'images' / '0.png'
    words = [image, '--format', 'csv', '--score-thr', '0', '--tta']
    assert infer(trained, *words, '--tta-scales', '1,1.5', '--out', 'found') == 0
    assert len((tmp_path / 'found' / 'detections.csv').read_text().splitlines()) > 1
    assert infer(trained, *words, '--tta-scales', '1,x', '--out', 'other') == 2
    assert 'is not a list of numbers' in capsys.readouterr().err
