"""What is read from the log of a training that was resumed, or made anew in the same folder; changes of settings."""

import json

import pytest
from mmengine.config import Config

from detrove.report.history import read_history
from detrove.report.settings import base_settings, differences, settings_of
from detrove.report.unavailable import Unavailable


def write_log(work_dir, name, steps, *, metric, loss):
    """A log as LocalVisBackend writes it, of a training with 100 iterations in an epoch."""
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    lines = []
    for step in steps:
        lines.append(dict(loss=loss, lr=0.1, time=0.5, epoch=(step - 1) // 100 + 1, iter=step, step=step))
        if step % 100 == 0:
            lines.append({'coco/bbox_mAP': metric, 'time': 0.1, 'step': step // 100})
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)) + '\n{"cut o')


def test_a_resumed_training_is_one(tmp_path):
    write_log(tmp_path, '1', range(50, 251, 50), metric=0.1, loss=3.0)
    write_log(tmp_path, '2', range(250, 401, 50), metric=0.2, loss=2.0)
    history = read_history(tmp_path)
    x, y = history.curve('loss')
    assert x.tolist() == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    assert y.tolist() == [3.0] * 4 + [2.0] * 4
    assert [values.tolist() for values in history.metric('coco/bbox_mAP')] == [[1, 2, 3, 4], [0.1, 0.1, 0.2, 0.2]]
    assert len(history.folders) == 2


def test_of_two_trainings_the_last_counts(tmp_path):
    write_log(tmp_path, '1', range(50, 401, 50), metric=0.1, loss=3.0)
    write_log(tmp_path, '2', range(50, 201, 50), metric=0.2, loss=2.0)
    history = read_history(tmp_path)
    assert history.curve('loss')[1].tolist() == [2.0] * 4
    assert history.metric_names() == ['coco/bbox_mAP']
    assert [folder.name for folder in history.folders] == ['2']


def test_without_a_log(tmp_path):
    with pytest.raises(Unavailable, match='no log of a training'):
        read_history(tmp_path)


def test_settings_against_the_base(tmp_path):
    (tmp_path / 'base.py').write_text("model = dict(type='A', depth=[1, 2])\ntrain_cfg = dict(max_epochs=2)\n")
    config = tmp_path / 'own.py'
    config.write_text("_base_ = './base.py'\nmodel = dict(depth=[1, 3])\nwork_dir = 'here'\n")
    base, names = base_settings(config)
    changes = differences(base, settings_of(Config.fromfile(config)))
    assert names == ['./base.py']
    assert [(change.key, change.values) for change in changes] == [('model.depth', ('[1, 2]', '[1, 3]'))]
    with pytest.raises(Unavailable, match='inherits from no other file'):
        base_settings(tmp_path / 'base.py')
