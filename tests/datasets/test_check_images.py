"""Files that are missing, unreadable, of another size, turned by EXIF, or in training and validation."""

import shutil

import pytest
from PIL import Image

from detrove.datasets.check import Severity, check_data
from detrove.datasets.check.layout import _HEADINGS, _HEADINGS_BY_FOLDER, expected_layout

ERROR, WARNING, NOTE = Severity
ORIENTATION = 274


def errors_of(report):
    assert report.number(ERROR) == 1
    return next(one for one in report.all_findings if one.severity is ERROR)


@pytest.mark.parametrize(('settings', 'kind', 'key'), [
    (dict(data_root='nowhere'), 'layout.no-data-root', 'data_root'),
    (dict(ann_file='trian.json'), 'layout.no-annotation-file', 'ann_file'),
    (dict(data_prefix=dict(img='trian')), 'layout.no-folder', 'data_prefix.img'),
])
def test_missing_files_name_the_key_and_the_layout(coco_folder, settings, kind, key):
    report = check_data(coco_folder.config(**settings), splits=['train'])
    finding = errors_of(report)
    assert (finding.kind, finding.where) == (kind, f'train_dataloader.dataset.{key}')
    assert 'images/*.jpg' in report.sources[0].layout
    if kind != 'layout.no-data-root':
        assert 'has' in finding.message and 'train' in finding.message, 'what is there instead'


@pytest.mark.parametrize('type_name', _HEADINGS)
def test_layouts_stand_in_the_readme(type_name):
    assert expected_layout(type_name, None).startswith(_HEADINGS[type_name])


@pytest.mark.parametrize('folder', _HEADINGS_BY_FOLDER)
def test_layouts_by_folder(folder):
    assert f'data/{folder}/' in expected_layout('CocoDetection', f'somewhere/{folder}/')


def test_missing_images(coco_folder):
    (coco_folder.root / 'train/train1.jpg').unlink()
    finding = errors_of(check_data(coco_folder.config()))
    assert (finding.kind, finding.count) == ('images.missing', 1)
    assert finding.examples[0].endswith('train1.jpg')


def test_missing_images_that_are_there_under_another_suffix(coco_folder):
    coco_folder.change(lambda content: content['images'][0].update(file_name='TRAIN0.png'))
    assert 'train0.jpg is there' in errors_of(check_data(coco_folder.config())).fix


def test_folder_that_is_named_twice(coco_folder):
    coco_folder.change(lambda content: [one.update(file_name=f'train/{one["file_name"]}') for one in content['images']])
    assert "img='': file names" in errors_of(check_data(coco_folder.config())).fix


@pytest.mark.parametrize('keep', [0, 0.5])
def test_unreadable_images(coco_folder, keep):
    file = coco_folder.root / 'train/train1.jpg'
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    finding = errors_of(check_data(coco_folder.config()))
    assert (finding.kind, finding.count) == ('images.unreadable', 1)
    assert ('empty' if not keep else 'truncated') in finding.examples[0]
    assert check_data(coco_folder.config(), images=0).number(ERROR) == 0


def test_images_of_another_size(coco_folder):
    Image.new('RGB', (30, 20)).save(coco_folder.root / 'train/train1.jpg')
    finding = errors_of(check_data(coco_folder.config()))
    assert finding.kind == 'images.other-size'
    assert 'recorded as 64 x 48, is 30 x 20' in finding.examples[0]


def save_turned(file, size_wh, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new('RGB', size_wh).save(file, exif=exif)


def test_images_turned_by_exif(coco_folder):
    as_stored = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation')]
    save_turned(coco_folder.root / 'train/train1.jpg', (64, 48), 6)
    assert check_data(coco_folder.config()).number(ERROR) == 0, 'annotated as stored, which the loader sees'
    assert check_data(coco_folder.config(pipeline=as_stored)).number(ERROR) == 0
    save_turned(coco_folder.root / 'train/train1.jpg', (48, 64), 6)
    assert check_data(coco_folder.config()).number(ERROR) == 0, 'annotated as loaded'
    finding = errors_of(check_data(coco_folder.config(pipeline=as_stored)))
    assert finding.kind == 'images.exif-rotated'
    assert 'loaded as 48 x 64' in finding.examples[0]


def test_images_upside_down(coco_folder):
    save_turned(coco_folder.root / 'train/train1.jpg', (64, 48), 3)
    assert coco_folder.find()['images.exif-tag'].severity is WARNING


def test_a_sample_says_so(coco_folder):
    report = check_data(coco_folder.config(), images=3)
    assert report.sources[0].facts['image files read'] == '3 of 4'


def test_validation_on_training_images(coco_folder):
    report = check_data(coco_folder.config(ann_file='train.json', data_prefix=dict(img='train')))
    finding = next(one for one in report.findings if one.kind == 'overlap.same-file')
    assert (finding.severity, finding.count) == (ERROR, 4)
    assert 'all of it' in finding.message


def test_copies_of_training_images(coco_folder):
    shutil.copy(coco_folder.root / 'train/train2.jpg', coco_folder.root / 'val/val0.jpg')
    report = check_data(coco_folder.config())
    finding = errors_of(report)
    assert (finding.kind, finding.count) == ('overlap.same-content', 1)
    assert 'val0.jpg' in finding.examples[0] and 'train2.jpg' in finding.examples[0]


def test_same_names_count_only_with_the_same_bytes(coco_folder):
    folder = coco_folder.root
    (folder / 'val/val0.jpg').rename(folder / 'val/train0.jpg')
    coco_folder.change(lambda content: content['images'][0].update(file_name='train0.jpg'), 'val')
    assert check_data(coco_folder.config()).findings == []
    shutil.copy(folder / 'train/train0.jpg', folder / 'val/train0.jpg')
    (finding,) = check_data(coco_folder.config(), images=0).findings
    assert (finding.severity, finding.kind) == (WARNING, 'overlap.same-id-and-name')


def test_a_file_of_equal_size_is_no_copy(coco_folder):
    train, val = coco_folder.root / 'train/train0.jpg', coco_folder.root / 'val/val0.jpg'
    content = train.read_bytes()
    changed = bytearray(content)
    changed[-40] ^= 1  # far from the middle
    val.write_bytes(changed)
    assert check_data(coco_folder.config()).findings == []


def test_validation_and_test_alike_are_one_data_set(coco_folder):
    config = coco_folder.config()
    config.test_dataloader, config.test_evaluator = config.val_dataloader, config.val_evaluator
    report = check_data(config)
    assert [one.source.splits for one in report.sources] == [('train',), ('val', 'test')]
    assert report.number(ERROR) == 0


def test_unknown_split(coco_folder):
    with pytest.raises(ValueError, match='trian'):
        check_data(coco_folder.config(), splits=['trian'])
