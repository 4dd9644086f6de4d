"""`detrove train` as a person runs it: on detection and segmentation, again, in parts, and wrongly."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmdet.models import RetinaNet

from detrove.cli import main
from detrove.engine.config_check import load_config
from detrove.engine.processes import available_processes
from detrove.engine.runner import build_runner

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def log_of(work_dir):
    (log,) = work_dir.glob('*/*.log')
    return log.read_text()


def test_ends_with_the_result_and_where_things_lie(detection_config, tmp_path, capsys):
    config = detection_config()
    assert main(['train', str(config)]) == 0
    work_dir = tmp_path / 'work_dirs' / config.stem
    tail = capsys.readouterr().out.rpartition('training has ended')[2]
    named = dict(re.findall(r'^  (\S.*?)  +(\S+)$', tail, re.MULTILINE))
    assert float(named['last coco/bbox_mAP']) == float(named['best coco/bbox_mAP'])
    for what in ('best checkpoint', 'last checkpoint', 'log', 'ground truth | predictions'):
        assert Path(named[what]).is_file(), what
        assert Path(named[what]).is_relative_to(work_dir), what
    assert Path(named['last checkpoint']).name == 'epoch_1.pth'


def test_resume_continues_where_it_stopped(detection_config, tmp_path):
    config, work_dir = detection_config(), tmp_path / 'work'
    assert main(['train', str(config), '--work-dir', str(work_dir)]) == 0
    first = log_of(work_dir)
    longer = detection_config('train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2)')
    assert main(['train', str(longer), '--work-dir', str(work_dir), '--resume']) == 0
    checkpoint = torch.load(work_dir / 'epoch_2.pth', weights_only=True)
    assert checkpoint['meta']['iter'] == 4
    # trainings that start in the same second write into one file
    log = ''.join(path.read_text() for path in sorted(work_dir.glob('*/*.log'))).replace(first, '')
    assert 'Epoch(train) [2][1/2]' in log
    assert 'Epoch(train) [1]' not in log


@pytest.mark.parametrize(
    ('options', 'extra'),
    [(['--amp'], ''), ([], "optim_wrapper['type'] = 'AmpOptimWrapper'; optim_wrapper['loss_scale'] = 'dynamic'")],
)
def test_amp_without_a_gpu_trains_in_bfloat16(detection_config, tmp_path, monkeypatch, options, extra):
    monkeypatch.setattr('detrove.engine.runner.has_accelerator', lambda: False)
    seen = []
    loss = RetinaNet.loss

    def spy(self, *args):
        seen.append(torch.is_autocast_enabled('cpu') and torch.get_autocast_dtype('cpu'))
        return loss(self, *args)

    monkeypatch.setattr(RetinaNet, 'loss', spy)
    assert main(['train', str(detection_config(extra)), *options, '--work-dir', 'work']) == 0
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert "type='Bfloat16OptimWrapper'" in log_of(tmp_path / 'work')


def test_auto_scale_lr(detection_config, tmp_path, capsys):
    config = detection_config()
    assert main(['train', str(config), '--auto-scale-lr']) == 1
    assert 'base_batch_size' in capsys.readouterr().err
    config = detection_config('auto_scale_lr = dict(enable=False, base_batch_size=8)')
    assert main(['train', str(config), '--auto-scale-lr', '--work-dir', 'work']) == 0
    assert 'lr: 2.5000e-03' in log_of(tmp_path / 'work')  # 0.01 * 2 / 8


def test_classes_of_another_data_set_keep_their_rows(detection_config, trained, tmp_path):
    extra = f"""
        load_from = {str(trained[1])!r}
        model['bbox_head']['num_classes'] = 1
        for loader in (train_dataloader, val_dataloader):
            loader['dataset'] = dict(loader['dataset'], metainfo=dict(classes=('cat',)))
        test_dataloader = val_dataloader
        optim_wrapper['optimizer']['lr'] = 0.0
    """
    assert main(['train', str(detection_config(extra)), '--work-dir', 'work']) == 0
    log = log_of(tmp_path / 'work')
    assert 'of another shape' not in log
    assert 'kept from the checkpoint (1 of 1): cat' in log and 'only in the checkpoint, left out (1): dog' in log
    before, after = (torch.load(file, weights_only=True)['state_dict']['bbox_head.retina_cls.weight']
                     for file in (trained[1], tmp_path / 'work/epoch_1.pth'))
    assert torch.equal(after[0], before[1])


def test_segmentation(segmentation_config, tmp_path, capsys):
    config = segmentation_config()
    assert main(['train', str(config), '--work-dir', 'work']) == 0
    assert re.search(r'last mIoU +\d', capsys.readouterr().out)
    assert list((tmp_path / 'work').glob('vis_*.jpg'))
    checkpoint = str(tmp_path / 'work' / 'iter_2.pth')
    assert main(['test', str(config), checkpoint, '--tta', '--out', 'maps', '--work-dir', 'test']) == 0
    assert sorted(path.name for path in Path('maps').iterdir()) == [f'{index}.png' for index in range(4)]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--cfg-options', 'model.bbox_head.num_clases=2'], "did you mean 'num_classes'"),
        (['--cfg-options', 'model.backbone.type=ResNett'], "did you mean 'ResNet'"),
        (['--cfg-options', 'model.bbox_head.num_classes=80'], "2 classes: ['dog', 'cat']"),
        (['--cfg-options', 'train_dataloader.dataset.ann_file=x.json'], 'that folder has ann.json'),
        (['--cfg-options', 'train_dataloader.dataset.metainfo.classes=dog,horse'], "['cat', 'dog']"),
        (['--cfg-options', 'load_from=nothing.pth'], 'checkpoint not found: '),
        (['--resume', 'nothing.pth'], 'checkpoint not found: '),
        (['--work-dir', '{config}/below'], ' is a file'),
    ],
)
def test_wrong_input_is_one_message_and_writes_nothing(detection_config, tmp_path, capsys, options, message):
    config = detection_config()
    before = sorted(tmp_path.rglob('*'))
    assert main(['train', str(config), *(option.format(config=config) for option in options)]) == 1
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.startswith('error: ')
    assert 'Traceback' not in output.err
    assert sorted(tmp_path.rglob('*')) == before


def test_a_dataset_that_keeps_no_image_is_an_error(detection_config, coco_folder, tmp_path, capsys):
    # mmdet's own dataset says nothing about it.
    extra = """
        train_dataloader['dataset'] = dict(
            dataset, type='CocoDataset', metainfo=dict(classes=('cat', 'dog')),
            filter_cfg=dict(filter_empty_gt=True, min_size=1000))
    """
    assert main(['train', str(detection_config(extra)), '--work-dir', 'work']) == 1
    assert 'CocoDataset has no images' in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_on_the_cpu(detection_config, tmp_path):
    config = detection_config()
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(config), '--processes', '2', '--work-dir', 'work']
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': ''}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    log = log_of(tmp_path / 'work')
    assert 'GPU number: 2' in log
    assert 'Epoch(train) [1][1/1]' in log  # four images, two processes, two images each
    assert 'bbox evaluation (faster_coco_eval, 4 images)' in log
    scalars = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    assert 'coco/bbox_mAP' in json.loads(next(scalars).read_text().splitlines()[-1])


@pytest.mark.slow
def test_ends_when_data_loading_processes_persist(detection_config):
    """They ignore the first SIGTERM, which Python sends them when it exits."""
    extra = """
        train_dataloader.update(num_workers=1, persistent_workers=True)
        val_dataloader.update(num_workers=1, persistent_workers=True)
    """
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(detection_config(extra)), '--work-dir', 'work']
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as training:
        for line in training.stdout:
            if 'training has ended' in line:
                started = time.monotonic()
        assert training.wait(timeout=60) == 0
    assert time.monotonic() - started < 15  # 30 seconds and more without an end of their own


def test_processes_and_a_launcher_exclude_each_other(detection_config, capsys):
    assert main(['train', str(detection_config()), '--processes', '2', '--launcher', 'pytorch']) == 1
    assert 'the launcher starts the processes' in capsys.readouterr().err


@pytest.mark.parametrize(('gpus', 'processes'), [(0, 3), (1, 1), (2, 2), (8, 3)])
def test_no_more_processes_than_gpus(capsys, monkeypatch, gpus, processes):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    assert available_processes(3) == processes
    assert ('fewer images in a step' in capsys.readouterr().err) is (processes < 3)


@pytest.mark.slow
def test_exit_status_of_a_process(tmp_path, capfd):
    assert main(['train', str(tmp_path / 'missing.py'), '--processes', '2']) == 1
    error = capfd.readouterr().err
    assert 'process 0 of 2 ended with exit status 1' in error or 'process 1 of 2 ended with exit status 1' in error
    assert 'missing.py' in error
    assert 'Traceback' not in error


@pytest.mark.parametrize('channels_last', [True, False])
def test_convolutions_channels_last(detection_config, tmp_path, channels_last):
    """Weights keep their memory layout in the checkpoint."""
    config = detection_config(f'channels_last = {channels_last}')
    assert main(['train', str(config), '--work-dir', str(tmp_path / 'work')]) == 0
    weights = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=True)['state_dict']
    weight = weights['backbone.layer1.0.conv1.weight']
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_runs_of_one_second_keep_apart(detection_config, tmp_path):
    cfg = load_config(str(detection_config()))
    cfg.work_dir = str(tmp_path / 'work')
    runners = [build_runner(cfg) for _ in range(2)]
    for what in ('timestamp', 'log_dir', 'logger', 'message_hub'):
        first, second = (getattr(runner, what) for runner in runners)
        assert first is not second and first != second, what
