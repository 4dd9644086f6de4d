"""`log_to`: TensorBoard, Weights & Biases and MLflow by one key."""

import contextlib
import importlib.util
import sqlite3

import pytest
from mmengine.config import Config

from detrove.cli import main
from detrove.engine.trackers import TRACKERS, add_trackers


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def all_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name)


def backends_of(**settings):
    cfg = Config(dict(work_dir='work_dirs/mine', **settings))
    add_trackers(cfg)
    return [backend['type'] for backend in cfg.visualizer.vis_backends]


def test_backends_are_added(all_installed):
    local = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    assert backends_of(visualizer=local, log_to='tensorboard') == ['LocalVisBackend', 'TensorboardVisBackend']
    assert backends_of(log_to=['wandb', 'mlflow']) == ['LocalVisBackend', 'WandbVisBackend', 'NamedMLflowVisBackend']
    assert backends_of(log_to='wandb,wandb') == ['LocalVisBackend', 'WandbVisBackend']
    assert backends_of(visualizer=local, log_to=None) == ['LocalVisBackend']
    own = dict(type='DetLocalVisualizer', vis_backends=[dict(type='WandbVisBackend', init_kwargs=dict(project='x'))])
    assert backends_of(visualizer=own, log_to='wandb') == ['WandbVisBackend']


def test_what_is_not_there_is_named(detection_config, capsys, monkeypatch):
    config = str(detection_config())
    assert main(['train', config, '--cfg-options', 'log_to=tensorbord']) == 1
    assert "'tensorbord' is no tracker. Choose from tensorboard, wandb, mlflow" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert main(['train', config, '--cfg-options', 'log_to=wandb']) == 1
    assert "log_to='wandb': the package wandb is not installed. Run pip install wandb" in capsys.readouterr().err


def test_training_reaches_every_tracker_that_is_installed(detection_config, tmp_path, monkeypatch):
    names = [name for name, (_, module, _) in TRACKERS.items() if importlib.util.find_spec(module)]
    if not names:
        pytest.skip('none of tensorboard, wandb and mlflow is installed')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    assert main(['train', str(detection_config()), '--work-dir', 'work', '--no-preflight', '--cfg-options',
                 f'log_to={",".join(names)}']) == 0
    traces = dict(tensorboard='*/vis_data/events.out.tfevents.*', wandb='*/vis_data/wandb/offline-run-*/*.wandb',
                  mlflow='mlflow.db')
    for name in names:
        assert list((tmp_path / 'work').glob(traces[name])), name
    if 'mlflow' in names:
        with contextlib.closing(sqlite3.connect(tmp_path / 'work' / 'mlflow.db')) as store:
            names = {name for name, in store.execute('select key from metrics')}
            assert {'loss', 'coco/bbox_mAP', 'coco/bbox_AR_100'} <= names
            assert store.execute('select name from runs').fetchall() == [('work',)]
        assert not (tmp_path / 'mlruns').exists()  # but in the work directory
