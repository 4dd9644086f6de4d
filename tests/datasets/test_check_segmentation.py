"""Mistakes in label maps: missing, of another size, of colours, with values that are no class."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from detrove.datasets.check import Severity, check_data
from detrove.datasets.shapes import ensure_shapes
from detrove.datasets.shapes_drawing import ShapesSettings

ROOT = Path(__file__).resolve().parents[2]
ERROR, WARNING, NOTE = Severity
SIZE_WH = (64, 48)
CLASSES = ('sky', 'tree', 'road')


class MapFolder:
    """Five images, each with a map that holds every value of `values`."""

    def __init__(self, root, values):
        self.root = root
        for folder in ('images', 'maps'):
            (root / folder).mkdir(parents=True)
        for index in range(5):
            pixels = np.random.default_rng(index).integers(0, 255, (*SIZE_WH[::-1], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f'images/{index}.jpg')
            self.write(index, np.resize(np.array(values, np.uint8), SIZE_WH[::-1]))

    def write(self, index, values):
        Image.fromarray(values).save(self.root / f'maps/{index}.png')

    def check(self, num_classes=3, **settings):
        dataset = dict(dict(type='BaseSegDataset', data_root=str(self.root), metainfo=dict(classes=CLASSES),
                            data_prefix=dict(img_path='images', seg_map_path='maps'), pipeline=[]), **settings)
        head = dict(type='FCNHead', num_classes=num_classes)
        return check_data(Config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder', decode_head=head),
                                      train_dataloader=dict(dataset=dataset))), splits=['train'])


@pytest.fixture
def draw(tmp_path):
    return lambda *values: MapFolder(tmp_path / 'maps_set', values)


def kinds_of(report):
    return {finding.kind: finding for finding in report.all_findings}


@pytest.mark.parametrize(('values', 'reduce_zero'), [
    ((0, 1, 2), False), ((0, 1, 2, 255), False), ((1, 2, 3), True), ((0, 1, 2, 3), True), ((0, 1, 2, 3, 255), True)])
def test_values_that_fit(draw, values, reduce_zero):
    assert draw(*values).check(reduce_zero_label=reduce_zero).all_findings == []


@pytest.mark.parametrize(('values', 'reduce_zero', 'fix'), [
    ((0, 1, 2), True, 'reduce_zero_label=False'),
    ((0, 1, 255), True, 'reduce_zero_label=False'),
    ((0, 1, 2, 3), False, 'reduce_zero_label=True'),
    ((1, 2, 3), False, 'reduce_zero_label=True'),
    ((1, 2, 3, 255), False, 'reduce_zero_label=True'),
])
def test_reduce_zero_label_mistakes(draw, values, reduce_zero, fix):
    report = draw(*values).check(reduce_zero_label=reduce_zero)
    (finding,) = report.all_findings
    assert (finding.kind, finding.severity) == ('segmentation.reduce-zero-label', ERROR)
    assert (finding.where, finding.fix) == ('train_dataloader.dataset.reduce_zero_label', fix)


def test_a_rare_last_class_is_a_doubt_only(draw):
    folder = draw(0, 1)  # of three classes, with reduce_zero_label; the second and third may be rare
    finding = kinds_of(folder.check(reduce_zero_label=True))['segmentation.reduce-zero-label']
    assert finding.severity is WARNING
    assert "'road' occurs in none" in finding.message


def test_reduce_zero_label_of_mmdet_stands_in_the_pipeline(draw):
    loader = dict(type='LoadAnnotations', with_seg=True, reduce_zero_label=True)
    report = draw(0, 1, 2).check(type='mmdet.BaseSegDataset', pipeline=[loader])
    (finding,) = report.all_findings
    assert finding.where == 'train_dataloader.dataset.pipeline: LoadAnnotations.reduce_zero_label'


def test_values_of_no_class(draw):
    folder = draw(0, 1, 2)
    folder.write(3, np.full(SIZE_WH[::-1], 7, np.uint8))
    finding = kinds_of(folder.check())['segmentation.values']
    assert (finding.severity, finding.count) == (ERROR, 1)
    assert finding.examples[0].endswith('3.png: [7]')


def test_classes_that_are_a_subset_of_the_types_own(draw):
    settings = dict(type='ADE20KDataset', metainfo=dict(classes=('wall', 'sky')), num_classes=2)
    report = draw(0, 1, 150).check(**settings)
    assert report.number(ERROR) == 0
    assert 'segmentation.absent-classes' in kinds_of(report)


def test_missing_maps(draw):
    folder = draw(0, 1, 2)
    (folder.root / 'maps/1.png').unlink()
    finding = kinds_of(folder.check())['segmentation.no-map']
    assert (finding.severity, finding.count) == (ERROR, 1)
    assert finding.examples[0].endswith('maps/1.png')


def test_no_images_of_that_suffix(draw):
    finding = kinds_of(draw(0, 1, 2).check(img_suffix='.png'))['segmentation.no-images']
    assert 'its files end in .jpg' in finding.message


def test_missing_folder(draw):
    report = draw(0).check(data_prefix=dict(img_path='images', seg_map_path='annotations'))
    (finding,) = report.all_findings
    assert (finding.kind, finding.where) == ('layout.no-folder', 'train_dataloader.dataset.data_prefix.seg_map_path')
    assert 'images, maps' in finding.message


def test_types_that_look_for_their_files_when_made(draw):
    report = draw(0).check(type='PascalVOCDataset', ann_file='train.txt')
    assert [finding.kind for finding in report.all_findings] == ['layout.no-annotation-file']


def test_settings_that_the_type_does_not_take(draw):
    (finding,) = draw(0).check(reduce_zero_labels=True).all_findings
    assert (finding.kind, finding.severity) == ('config.cannot-build', ERROR)
    assert 'reduce_zero_labels' in finding.message


def test_maps_of_another_size(draw):
    folder = draw(0, 1, 2)
    folder.write(2, np.ones((20, 30), np.uint8))
    finding = kinds_of(folder.check())['segmentation.other-size']
    assert (finding.count, finding.examples[0].split(': ')[1]) == (1, '30 x 20, image 64 x 48')


def test_maps_of_images_turned_by_exif(draw):
    folder = draw(0, 1, 2)
    exif = Image.Exif()
    exif[274] = 6
    Image.new('RGB', SIZE_WH).save(folder.root / 'images/2.jpg', exif=exif)
    assert kinds_of(folder.check())['segmentation.exif-rotated'].count == 1


def test_maps_of_colours(draw):
    folder = draw(0, 1, 2)
    folder.write(2, np.ones((*SIZE_WH[::-1], 3), np.uint8))
    finding = kinds_of(folder.check())['segmentation.colours']
    assert (finding.severity, finding.examples[0].split(': ')[1]) == (ERROR, 'RGB')


def test_maps_with_a_palette(draw):
    folder = draw(0, 1, 2)
    with Image.open(folder.root / 'maps/0.png') as label_map:
        label_map.putpalette(list(range(9)))
        label_map.save(folder.root / 'maps/0.png')
    assert kinds_of(folder.check())['segmentation.palette'].severity is NOTE
    by_opencv = [dict(type='LoadAnnotations', imdecode_backend='cv2')]
    assert kinds_of(folder.check(pipeline=by_opencv))['segmentation.palette'].severity is ERROR


def test_unreadable_maps(draw):
    folder = draw(0, 1, 2)
    file = folder.root / 'maps/0.png'
    file.write_bytes(file.read_bytes()[:60])
    assert kinds_of(folder.check())['segmentation.unreadable'].severity is ERROR


def test_maps_without_a_class(draw):
    folder = draw(0, 1, 2)
    folder.write(0, np.full(SIZE_WH[::-1], 255, np.uint8))
    assert kinds_of(folder.check())['segmentation.blank'].severity is NOTE
    for index in range(5):
        folder.write(index, np.full(SIZE_WH[::-1], 255, np.uint8))
    assert kinds_of(folder.check())['segmentation.blank'].severity is ERROR


def test_head_of_another_number(draw):
    (finding,) = draw(0, 1, 2).check(num_classes=150).all_findings
    assert (finding.kind, finding.where) == ('classes.head', 'model.decode_head.num_classes')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    return str(ensure_shapes(tmp_path_factory.mktemp('data') / 'shapes', ShapesSettings(num_train=40, num_val=8)))


@pytest.mark.parametrize('name', ['detection', 'instance', 'semantic'])
def test_the_sample_data_has_no_errors(shapes, name, monkeypatch):
    for drawing in ('check.source.ensure_shapes', 'shapes_dataset._draw_if_missing'):  # it is drawn, of fewer images
        monkeypatch.setattr(f'detrove.datasets.{drawing}', lambda root: root)
    config = Config.fromfile(ROOT / f'configs/_base_/datasets/shapes_{name}.py')
    config.default_scope = 'mmseg' if name == 'semantic' else 'mmdet'
    for split in ('train', 'val', 'test'):
        config[f'{split}_dataloader'].dataset.data_root = shapes
        if name != 'semantic' and split != 'train':
            config[f'{split}_evaluator'].ann_file = f'{shapes}/annotations/val.json'
    report = check_data(config, images=None)
    assert report.number(ERROR) == report.number(WARNING) == 0, report.all_findings
    assert [one.source.splits for one in report.sources] == [('train',), ('val', 'test')]
    assert report.sources[0].facts['image files read'] == '40 of 40'
