"""`evaluate_raw=True`: the average and the raw weights are evaluated apart, and both are kept."""

import json

import pytest
import torch

from detrove.cli import main

EMA = """
custom_hooks = [dict(type='EMAHook', momentum=0.3)]
optim_wrapper['optimizer']['lr'] = 0.1
"""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_both_are_evaluated_named_and_saved(detection_config, tmp_path, capsys):
    config = detection_config(EMA + "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)")
    assert main(['train', str(config), '--work-dir', 'work', '--no-preflight', '--cfg-options',
                 'evaluate_raw=True']) == 0
    tail = capsys.readouterr().out.rpartition('training has ended')[2]
    for words in ('last coco/bbox_mAP', 'best coco/bbox_mAP', 'last raw/coco/bbox_mAP', 'best raw/coco/bbox_mAP',
                  'best checkpoint', 'last checkpoint', 'best raw checkpoint', 'last raw checkpoint'):
        assert f'  {words}  ' in tail, words

    work = tmp_path / 'work'
    content = torch.load(work / 'epoch_2.pth', weights_only=True)
    raw = torch.load(work / 'raw_last_epoch_2.pth', weights_only=True)
    name = 'bbox_head.retina_cls.weight'
    assert raw['state_dict'][name].equal(content['ema_state_dict'][f'module.{name}'])  # swapped by EMAHook
    assert not raw['state_dict'][name].equal(content['state_dict'][name])
    assert len(list(work.glob('raw_best_epoch_*.pth'))) == 1 and not (work / 'raw_last_epoch_1.pth').exists()

    records = [json.loads(line) for file in work.glob('*/vis_data/scalars.json')
               for line in file.read_text().splitlines()]
    last = [record for record in records if 'coco/bbox_mAP' in record][-1]
    assert 'raw/coco/bbox_mAP' in last
    assert main(['test', str(config), str(work / 'raw_last_epoch_2.pth'), '--work-dir', 'test']) == 0
    (file,) = (tmp_path / 'test').glob('*/*.json')
    assert json.loads(file.read_text())['coco/bbox_mAP'] == pytest.approx(last['raw/coco/bbox_mAP'], abs=1e-6)


def test_without_an_average(detection_config, capsys):
    assert main(['train', str(detection_config()), '--no-preflight', '--cfg-options', 'evaluate_raw=True']) == 1
    assert 'custom_hooks has no EMAHook' in capsys.readouterr().err
