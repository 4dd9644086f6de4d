"""`detrove preflight` and the short form that training runs, as a person meets them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detrove.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def report(words, capsys):
    status = main(['preflight', *map(str, words), '--json', '--images', 'none'])
    return status, {one['kind']: one for one in json.loads(capsys.readouterr().out)['findings']}


def test_names_key_line_and_way_out(detection_config, capsys):
    config = detection_config()
    status, found = report([config, '--no-memory', '--cfg-options', 'model.bbox_head.num_classes=7'], capsys)
    assert status == 1
    head = found['classes.head']
    assert head['where'].startswith('model.bbox_head.num_classes (') and 'num_classes=2' in head['fix']
    line = int(re.search(r', line (\d+)\)', head['where'])[1])
    assert 'num_classes=2' in config.read_text().splitlines()[line - 1]
    assert found['overlap.same-file']['severity'] == 'error'  # the fixture validates on its training images
    assert found['schedule.few-steps']['severity'] == 'warning'


def test_unknown_settings_are_findings(detection_config, capsys):
    config = detection_config("model['bbox_head']['num_clases'] = 2")
    status, found = report([config], capsys)
    assert status == 1 and "did you mean 'num_classes'" in found['config.setting']['message']
    assert found['config.setting']['where'].startswith('model.bbox_head.num_clases (')


def test_nothing_wrong_is_zero(detection_config, capsys):
    config = detection_config('val_dataloader = val_evaluator = val_cfg = None')
    assert main(['preflight', str(config), '--images', 'none', '--gpu-memory', '24']) == 0
    shown = ' '.join(capsys.readouterr().out.split())
    assert '0 errors' in shown and 'a training step on 2 images of 64 x 64 is predicted to need' in shown
    assert '--amp:' in shown


def test_too_little_memory_is_an_error(detection_config, capsys):
    config = detection_config('val_dataloader = val_evaluator = val_cfg = None')
    status, found = report([config, '--gpu-memory', '0.001'], capsys)
    assert status == 1 and found['memory.peak']['severity'] == 'error'
    assert 'train_dataloader.batch_size=1' in found['memory.peak']['fix']


def test_weights_that_will_and_will_not_load(detection_config, trained, tmp_path, capsys):
    config = detection_config(f"""
        load_from = {str(trained[1])!r}
        model['bbox_head']['num_classes'] = 1
        model['bbox_head']['feat_channels'] = 8
        for loader in (train_dataloader, val_dataloader):
            loader['dataset'] = dict(loader['dataset'], metainfo=dict(classes=('cat',)))
        model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='https://a.b/not-here.pth')
    """)
    _, found = report([config, '--no-memory'], capsys)
    assert found['weights.other-shape']['count'] >= 3
    assert all('bbox_head.' in one for one in found['weights.other-shape']['examples'])
    assert found['weights.not-local']['where'].startswith('model.backbone.init_cfg.checkpoint')
    torch.save(dict(state_dict=dict(something=torch.zeros(3))), tmp_path / 'other.pth')
    status, found = report([config, '--no-memory', '--cfg-options', 'load_from=other.pth'], capsys)
    assert status == 1 and 'belongs to another model' in found['weights.not-loaded']['message']


def test_kept_classes_are_told(detection_config, trained, capsys):
    config = detection_config(f"""
        load_from = {str(trained[1])!r}
        model['bbox_head']['num_classes'] = 1
        for loader in (train_dataloader, val_dataloader):
            loader['dataset'] = dict(loader['dataset'], metainfo=dict(classes=('cat',)))
    """)
    _, found = report([config, '--no-memory'], capsys)
    assert 'kept from the checkpoint (1 of 1): cat' in found['weights.classes']['message']
    assert not any(kind in found for kind in ('weights.other-shape', 'weights.missing'))


def test_segmentation(segmentation_config, capsys):
    status, found = report([segmentation_config('val_dataloader = val_evaluator = val_cfg = None')], capsys)
    assert status == 0 and found['memory.peak']['severity'] == 'note'


def test_training_runs_it_in_short(detection_config, tmp_path):
    config = detection_config('model["test_cfg"]["max_per_img"] = 1')
    assert main(['train', str(config), '--work-dir', 'work']) == 0
    (log,) = (tmp_path / 'work').glob('*/*.log')
    text = log.read_text()
    assert 'preflight: images are both in the training and the validation set (4)' in text
    assert 'preflight: images have more objects than model.test_cfg.max_per_img=1' in text
    assert f'model.test_cfg.max_per_img ({config.name}, line ' in text
    assert text.index('preflight:') < text.index('Epoch(train)')
    assert main(['train', str(config), '--work-dir', 'again', '--no-preflight']) == 0
    (log,) = (tmp_path / 'again').glob('*/*.log')
    assert 'preflight' not in log.read_text()


def test_tool_is_the_command():
    result = subprocess.run([sys.executable, ROOT / 'tools/preflight.py', '--help'], capture_output=True, text=True)
    assert result.returncode == 0 and 'usage: detrove preflight' in result.stdout
