"""The runtime, the data and the example config of segmentors."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer
from mmseg.registry import DATASETS
from mmseg.visualization import SegLocalVisualizer

from detrove.cli import main
from detrove.datasets.shapes import ensure_shapes
from detrove.datasets.shapes_drawing import ShapesSettings
from detrove.engine.config_check import load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FEW = ShapesSettings(num_train=4, num_val=3, sizes_hw=((96, 128), (112, 96)), diameter=(20, 60))


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('config', sorted((CONFIGS / 'segmentation').glob('*.py')), ids=lambda path: path.stem)
def test_example_trains_and_tests(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('detrove.datasets.shapes.ensure_shapes', lambda root: ensure_shapes(root, FEW))
    options = ['--work-dir', 'work', '--cfg-options']
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    short = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2']
    assert main(['train', str(config), *options, *short]) == 0
    trained = capsys.readouterr().out
    (last,) = re.findall(r'^  last mIoU +(\S+)$', trained, re.MULTILINE)
    assert re.search(r'^  best checkpoint +.*best_mIoU_iter_2.pth$', trained, re.MULTILINE)
    (picture,) = (tmp_path / 'work').glob('vis_*.jpg')
    assert cv2.imread(str(picture)).shape[1] == 1000
    for visualizer in (Visualizer, SegLocalVisualizer):  # a process keeps the first of a name, and where it saves
        visualizer._instance_dict.clear()
    assert main(['test', str(config), 'work/iter_2.pth', '--show-dir', 'drawn', *options]) == 0
    (tested,) = re.findall(r'Iter\(test\) .*mIoU: (\S+)', capsys.readouterr().out)
    assert float(tested) == pytest.approx(float(last), abs=0.01)
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 3


def test_runtime_counts_iterations():
    runtime = Config.fromfile(CONFIGS / '_base_' / 'default_runtime_seg.py')
    assert runtime.default_scope == 'mmseg'
    assert runtime.custom_imports.imports == ['detrove.projects']
    hooks = runtime.default_hooks
    assert (hooks.checkpoint.by_epoch, hooks.checkpoint.save_best) == (False, 'mIoU')
    assert not hooks.logger.log_metric_by_epoch and not runtime.log_processor.by_epoch
    assert {'ProgressHook', 'SummaryHook', 'SegVisualizationHook'} <= {hook.type for hook in hooks.values()}


def test_ade20k_is_read_as_mmseg_reads_it():
    ours = Config.fromfile(CONFIGS / '_base_' / 'datasets' / 'ade20k.py')
    theirs = load_config('mmseg::_base_/datasets/ade20k.py')
    keys = [key for key in theirs if key.endswith(('_dataloader', '_evaluator'))]
    assert len(keys) == 5
    for loader in (theirs.train_dataloader, theirs.val_dataloader, theirs.test_dataloader):
        for step in loader.dataset.pipeline:
            step.pop('reduce_zero_label', None)  # the data set says so too
    for key in keys:
        assert ours[key] == theirs[key]


def test_ade20k_loads(tmp_path):
    maps = np.array([[0, 1], [150, 2]], dtype=np.uint8).repeat(300, axis=0).repeat(400, axis=1)
    for kind, suffix, content in (('images', 'jpg', maps), ('annotations', 'png', maps)):
        file = tmp_path / 'data/ade/ADEChallengeData2016' / kind / 'training' / f'ADE_train_00000001.{suffix}'
        file.parent.mkdir(parents=True)
        cv2.imwrite(str(file), content)
    load_config(str(CONFIGS / '_base_' / 'default_runtime_seg.py'))
    config = Config.fromfile(CONFIGS / '_base_' / 'datasets' / 'ade20k.py')
    dataset = DATASETS.build(dict(config.train_dataloader.dataset, _scope_='mmseg'))
    assert len(dataset.metainfo['classes']) == 150
    labels = dataset[0]['data_samples'].gt_sem_seg.data
    assert labels.shape[1:] <= (512, 512)
    assert set(labels.unique().tolist()) <= {0, 1, 149, 255}
    assert dataset[0]['inputs'].shape[0] == 3


@pytest.mark.parametrize(('name', 'short_sides'), [
    ('ade20k', [256, 384, 512, 640, 768, 896]), ('ade20k_640x640', [320, 480, 640, 800, 960, 1120])])
def test_multi_scale_test(name, short_sides, tmp_path):
    """Every scale once as it is and once flipped, and the map in its own size."""
    from mmseg.registry import TRANSFORMS
    init_default_scope('mmseg')
    cv2.imwrite(str(tmp_path / 'image.png'), np.zeros((30, 40, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'map.png'), np.ones((30, 40), np.uint8))
    result = dict(img_path=str(tmp_path / 'image.png'), seg_map_path=str(tmp_path / 'map.png'), reduce_zero_label=True,
                  seg_fields=[])
    for step in Config.fromfile(CONFIGS / '_base_/datasets' / f'{name}.py').tta_pipeline:
        result = TRANSFORMS.build(step)(result)
    found = [(min(image.shape[1:]), sample.flip) for image, sample in zip(*result.values(), strict=True)]
    assert sorted(found) == sorted((side, flip) for side in short_sides for flip in (False, True))
    assert {sample.gt_sem_seg.shape for sample in result['data_samples']} == {(30, 40)}
