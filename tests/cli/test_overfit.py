"""`detrove train --overfit`: a few images until they are known, or what does not learn."""

import json

import pytest

from detrove.cli import main
from detrove.engine.hooks import overfit
from detrove.engine.hooks.overfit import Evidence, diagnose

AUGMENTED = """
custom_hooks = [dict(type='EMAHook')]
train_dataloader['dataset'] = dict(dataset, pipeline=[
    *pipeline[:3], dict(type='RandomFlip', prob=1.0), pipeline[3]])
"""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shown_verdict(capsys):
    return capsys.readouterr().out.rpartition('overfit check')[2]


def test_detector_that_does_not_learn_in_time(detection_config, tmp_path, capsys):
    assert main(['train', str(detection_config(AUGMENTED)), '--overfit', '2', '--overfit-steps', '20',
                 '--work-dir', 'work']) == 1
    verdict = shown_verdict(capsys)
    for text in ('known from 0.9 on: NOT reached', 'of 4 objects', 'loss_bbox: '):
        assert text in verdict, text
    subset = json.loads((tmp_path / 'work/overfit/annotations.json').read_text())
    assert len(subset['images']) == 2 and len(subset['annotations']) == 4
    (config,) = (tmp_path / 'work/overfit').glob('tiny*.py')
    text = config.read_text()
    assert 'RandomFlip' not in text.partition('val_dataloader')[0].rpartition('train_dataloader')[2]
    assert "type='EMAHook'" not in text and not list((tmp_path / 'work').rglob('*.pth'))


def test_training_ends_when_the_images_are_known(detection_config, monkeypatch, capsys):
    monkeypatch.setitem(overfit.BARS, 'coco/bbox_mAP', 0.0)
    assert main(['train', str(detection_config()), '--overfit', '2', '--overfit-steps', '200']) == 0
    shown = capsys.readouterr().out
    assert 'the images are known' in shown and 'Iter(train) [ 10/200]' in shown and 'Iter(train) [ 20/200]' not in shown


def test_segmentor(segmentation_config, capsys):
    assert main(['train', str(segmentation_config()), '--overfit', '2', '--overfit-steps', '20']) == 1
    assert 'mIoU' in shown_verdict(capsys)


def test_data_without_objects_is_refused(detection_config, capsys):
    words = ['--overfit', '2', '--cfg-options', 'train_dataloader.dataset.metainfo.classes=horse,']
    assert main(['train', str(detection_config()), *words]) == 1
    assert 'has no image with an object of the classes' in capsys.readouterr().err


@pytest.mark.parametrize('number', ['0', 'some'])
def test_wrong_usage(number, capsys):
    assert main(['train', 'x.py', '--overfit', number]) == 2


def verdict(**values):
    defaults = dict(metrics={'coco/bbox_mAP': 0.2, 'coco/bbox_mAP_50': 0.3}, objects=10)
    return '\n'.join(diagnose(Evidence(**{**defaults, **values})))


def test_diagnosis():
    assert 'classification is stuck: 20% of the objects' in verdict(found=10, precise=8, named=2)
    assert 'boxes are not learned' in verdict(found=2, precise=0, named=2)
    coarse = {'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_50': 0.95}
    assert 'boxes are coarse (AP50 0.95, AP 0.40)' in verdict(found=10, precise=3, named=10, metrics=coarse)
    assert 'it learns, give it more steps' in verdict(found=10, precise=9, named=10)
    assert 'loss_cls: 2 -> 1.9 (does not fall)' in verdict(found=10, named=1, losses=dict(loss_cls=(2.0, 1.9)))
    assert 'no gradient in the first 20 steps (1 tensors): neck.weight' in verdict(no_gradient=['neck.weight'])
    assert 'loss became nan' in verdict(failure='loss became nan in step 3')
    known = verdict(metrics={'coco/bbox_mAP': 0.95})
    assert 'reached' in known and 'NOT' not in known and 'go together' in known
    assert 'small ones are not' in verdict(metrics=dict(mIoU=40.0, aAcc=90.0), objects=0)
