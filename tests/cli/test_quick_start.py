"""README's main job on a handful of images: train, validate, the closing lines, then test plain and fused."""

import json
import re
from pathlib import Path

import pytest

from detrove.cli import main
from detrove.datasets.shapes import ensure_shapes
from detrove.datasets.shapes_drawing import ShapesSettings

CONFIG = str(Path(__file__).resolve().parents[2] / 'configs/rt_detr/rtdetr_nano_shapes.py')


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    root = ensure_shapes(tmp_path_factory.mktemp('data') / 'shapes', ShapesSettings(num_train=9, num_val=3))
    changes = [f'{phase}_dataloader.{key}={value}' for phase in ('train', 'val', 'test') for key, value in {
        'dataset.type': 'CocoDetection', 'dataset.data_root': f'{root}/', 'num_workers': 0,
        'persistent_workers': False, 'batch_size': 3}.items()]
    changes += [f'{phase}_evaluator.ann_file={root}/annotations/val.json' for phase in ('val', 'test')]
    return ['--cfg-options', *changes, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
            'default_hooks.checkpoint.interval=1']


@pytest.fixture(scope='module')
def work_dir(options, tmp_path_factory):
    folder = tmp_path_factory.mktemp('work')
    assert main(['train', CONFIG, '--work-dir', str(folder), *options]) == 0
    return folder


def test_ends_by_saying_where_everything_is(work_dir):
    log = next(work_dir.glob('*/*.log')).read_text()
    closing = log[log.index('training has ended'):]
    assert re.search(r'last coco/bbox_mAP +\d\.\d{4}', closing)
    for label in ('best checkpoint', 'last checkpoint', 'log', r'ground truth \| predictions'):
        assert Path(re.search(rf'{label} +(\S+)', closing)[1]).is_file(), label
    assert 'bbox AP per category' in log and 'triangle' in log


def test_fused_model_gives_the_same_detections(work_dir, options, tmp_path):
    found = {}
    for name, flags in {'plain': [], 'fused': ['--fuse']}.items():
        out = tmp_path / f'{name}.json'
        checkpoint = str(work_dir / 'epoch_1.pth')
        arguments = ['test', CONFIG, checkpoint, '--work-dir', str(tmp_path / name), '--out', str(out)]
        assert main([*arguments, *flags, *options]) == 0
        found[name] = json.loads(out.read_text())
    assert len(found['plain']) == len(found['fused']) == 3 * 100
    scores = {name: sorted(one['score'] for one in detections) for name, detections in found.items()}
    assert scores['plain'] == pytest.approx(scores['fused'], abs=1e-4)
