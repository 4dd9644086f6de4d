"""`detrove.apis.inference`: what it takes, and that it answers as the test loop would."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from detrove.apis import inference, init_model
from detrove.inference import ImagePipeline

DETECTOR = 'configs/rt_detr/rtdetr_nano_shapes.py'
SEGMENTOR = 'configs/segmentation/upernet_r18_1k_shapes.py'


@pytest.fixture(scope='module')
def detector():
    torch.manual_seed(0)
    return init_model(DETECTOR)


@pytest.fixture(scope='module')
def segmentor():
    torch.manual_seed(0)
    return init_model(SEGMENTOR)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    (folder / 'more').mkdir()
    rng = np.random.default_rng(0)
    for name, size in (('b.png', (60, 90)), ('a.png', (90, 60)), ('more/c.png', (90, 60))):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (*size, 3), dtype=np.uint8))
    (folder / 'notes.txt').write_text('no image')
    return folder


def test_files_folders_patterns_and_arrays_give_the_same(detector, folder):
    names = ['a.png', 'b.png', 'more/c.png']
    of_folder = inference(detector, folder)
    assert [sample.img_path for sample in of_folder] == [str(folder / name) for name in names]
    of_pattern = inference(detector, [str(folder / '*.png'), folder / 'more'], batch_size=1)
    of_arrays = inference(detector, [cv2.imread(str(folder / name)) for name in names], batch_size=3)
    for one, other, array in zip(of_folder, of_pattern, of_arrays, strict=True):
        assert one.pred_instances.bboxes.equal(other.pred_instances.bboxes)
        assert one.ori_shape == array.ori_shape
        torch.testing.assert_close(one.pred_instances.scores, array.pred_instances.scores)


def test_score_threshold_keeps_equal_scores(detector, folder):
    everything = inference(detector, folder / 'a.png')[0].pred_instances
    middle = float(everything.scores.sort().values[len(everything) // 2])
    kept = inference(detector, folder / 'a.png', score_thr=middle)[0].pred_instances
    assert len(kept) == (everything.scores >= middle).sum() < len(everything)


def test_segmentor_takes_images_of_different_sizes(segmentor, folder):
    samples = inference(segmentor, folder, batch_size=3)
    assert [tuple(sample.pred_sem_seg.shape) for sample in samples] == [(90, 60), (60, 90), (90, 60)]


def test_class_names_come_from_the_data_set_class(detector, segmentor):
    assert len(detector.dataset_meta['classes']) == 6
    assert len(segmentor.dataset_meta['classes']) == len(segmentor.dataset_meta['palette']) == 7


def test_grey_images(detector):
    grey = np.full((40, 40), 100, np.uint8)
    coloured = np.repeat(grey[..., None], 3, axis=2)
    one, other = inference(detector, [grey, coloured])
    assert one.pred_instances.scores.equal(other.pred_instances.scores)


@pytest.mark.parametrize('shape', [(40, 40, 4), (0, 40, 3), (3,)])
def test_array_of_another_shape(detector, shape):
    with pytest.raises(ValueError, match=r'expected \(height, width, 3\)'):
        inference(detector, np.zeros(shape, np.uint8))


def test_what_is_no_image(detector, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='no image there'):
        inference(detector, folder / '*.jpg')
    with pytest.raises(ValueError, match='notes.txt cannot be read as an image'):
        inference(detector, folder / 'notes.txt')
    (tmp_path / 'empty.png').touch()
    with pytest.raises(ValueError, match='empty.png cannot be read as an image'):
        inference(detector, tmp_path)


@pytest.mark.parametrize('steps, message', [
    ([], 'the config has no test pipeline'),
    ([dict(type='PackDetInputs')], 'has to begin with LoadImageFromFile'),
])
def test_pipeline_that_reads_no_images(steps, message):
    with pytest.raises(ValueError, match=message):
        ImagePipeline(Config(dict(test_pipeline=steps)))


def test_an_image_within_one_tile_is_as_without_tiles(detector, folder):
    whole, = inference(detector, folder / 'a.png', score_thr=0.01)
    tiled, = inference(detector, folder / 'a.png', score_thr=0.01, tile=100)
    assert tiled.pred_instances.scores.equal(whole.pred_instances.scores.sort(descending=True, stable=True).values)
    assert tiled.ori_shape == whole.ori_shape and tiled.img_path == whole.img_path


def test_tiles_of_a_segmentor(segmentor, folder):
    with pytest.raises(ValueError, match="mode='slide'"):
        inference(segmentor, folder, tile=64)
