"""`detrove check-dataset` as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from detrove.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_data_that_is_in_order(detection_config, capsys):
    assert main(['check-dataset', str(detection_config()), '--splits', 'train']) == 0
    shown = capsys.readouterr().out
    assert 'CocoDetection at train_dataloader.dataset, 4 images, 6 objects, 2 classes, 4 of 4 image files read' in shown
    assert '0 errors, 0 warnings, 1 note: nothing that would break' in shown


def test_errors_name_the_way_out(detection_config, capsys):
    options = ['--cfg-options', 'model.bbox_head.num_classes=80', 'train_dataloader.dataset.data_root=nowhere']
    assert main(['check-dataset', str(detection_config()), '--splits', 'train', *options]) == 1
    shown = capsys.readouterr().out
    for text in ('2 errors', 'model.bbox_head.num_classes=2', 'nowhere', 'expected: Your own data', 'images/*.jpg'):
        assert text in shown, text


def test_label_maps(segmentation_config, capsys):
    assert main(['check-dataset', str(segmentation_config()), '--splits', 'train', '--images', 'all']) == 0
    config = segmentation_config('train_dataloader["dataset"]["reduce_zero_label"] = True')
    assert main(['check-dataset', str(config), '--splits', 'train']) == 1
    assert 'reduce_zero_label=False' in capsys.readouterr().out


def test_json_has_everything(detection_config, capsys):
    assert main(['check-dataset', str(detection_config()), '--json', '--images', 'none', '--workers', '1']) == 1
    report = json.loads(capsys.readouterr().out)
    assert [one['splits'] for one in report['data_sets']] == [['train'], ['val', 'test']]
    errors = [one for one in report['findings'] if one['severity'] == 'error']
    assert len(errors) == report['errors'] == 1
    assert (errors[0]['kind'], errors[0]['count'], len(errors[0]['examples'])) == ('overlap.same-file', 4, 3)
    assert errors[0]['where'] == 'val_dataloader.dataset'


@pytest.mark.parametrize('words', [['--images', 'some'], ['--splits', 'trian'], ['--workers', '0'], []])
def test_wrong_usage(words, capsys):
    assert main(['check-dataset', *(['x.py'] if words else []), *words]) == 2
    assert 'usage: detrove check-dataset' in capsys.readouterr().err


def test_tool_is_the_command():
    result = subprocess.run([sys.executable, ROOT / 'tools/check_dataset.py', '--help'], capture_output=True, text=True)
    assert result.returncode == 0
    assert 'usage: detrove check-dataset' in result.stdout
