"""`detrove ablate --search`: what is proposed, ended early, taken up again and refused. Training is a stand-in."""

import csv
import json
import sys
from pathlib import Path

import pytest

from detrove.cli import ablation_run, ablation_search, main
from detrove.cli.ablation_search import option_word

SPACE = """
def space(trial):
    return {'optim_wrapper.optimizer.lr': trial.suggest_float('lr', 0.01, 1.0),
            'optim_wrapper.optimizer.momentum': trial.suggest_categorical('momentum', [0.0, 0.9])}
"""


def trained(run, *, on_wait):
    """Three validations, the better the nearer the learning rate is to 0.4, each seen while it goes on."""
    data = run.folder / '20260101_000000' / 'vis_data'
    data.mkdir(parents=True, exist_ok=True)
    value = 1 - abs(float(run.experiment.settings['optim_wrapper.optimizer.lr']) - 0.4)
    for epoch in (1, 2, 3):
        with (data / 'scalars.json').open('a') as file:
            print(json.dumps({'coco/bbox_mAP': value * epoch / 3, 'step': epoch}), file=file)
        on_wait()


@pytest.fixture
def search(tmp_path, monkeypatch, detection_config):
    pytest.importorskip('optuna')
    monkeypatch.chdir(tmp_path)
    detection_config("train_cfg['max_epochs'] = 3").rename(tmp_path / 'base.py')
    (tmp_path / 'space.py').write_text(SPACE)
    monkeypatch.setattr(ablation_search, '_POLL_S', 0.0)
    monkeypatch.setattr(ablation_run, 'train', trained)
    return lambda *words: main(['ablate', 'base.py', '--search', 'space.py', '--work-dir', 'work', *words])


def rows():
    with Path('work/search.csv').open() as file:
        return list(csv.DictReader(file))


def test_bad_trials_are_ended_early_and_the_best_is_named(search, capsys):
    assert search('--trials', '8', '--startup', '2') == 0
    found = rows()
    assert len(found) == 8
    assert {row['state'] for row in found} == {'complete', 'pruned'}
    for row in found:
        assert row['at'] == '3' if row['state'] == 'complete' else int(row['at']) < 3
    complete = [row for row in found if row['state'] == 'complete']
    best = max(complete, key=lambda row: float(row['coco/bbox_mAP']))
    assert f'in {Path("work", best["folder"]).resolve()}' in capsys.readouterr().out
    assert float(best['coco/bbox_mAP']) == pytest.approx(1 - abs(float(best['lr']) - 0.4))

    assert search('--trials', '9', '--startup', '2') == 0  # goes on with one more
    assert len(rows()) == 9 and rows()[:8] == found
    assert len({row['lr'] for row in rows()}) == 9


def test_what_was_stopped_is_taken_up_in_its_folder(search, monkeypatch):
    def stopped(run, *, on_wait):
        with ablation_run.exclusive(run.folder / 'train.lock'):
            raise KeyboardInterrupt

    def in_folder(run, *, on_wait):
        Path(run.folder).mkdir(parents=True, exist_ok=True)
        stopped(run, on_wait=on_wait)

    monkeypatch.setattr(ablation_run, 'train', in_folder)
    assert search('--trials', '2') == 130
    monkeypatch.setattr(ablation_run, 'train', trained)
    assert search('--trials', '2') == 0
    states = [(row['state'], row['folder']) for row in rows()]
    assert states == [('fail', 'trial0'), ('complete', 'trial0'), ('complete', 'trial2')]
    assert rows()[0]['lr'] == rows()[1]['lr']


def test_failed_training_and_wrong_input(search, monkeypatch, capsys):
    def failed(run, *, on_wait):
        raise ablation_run.TrainingFailed('the loss is nan')

    monkeypatch.setattr(ablation_run, 'train', failed)
    assert search('--trials', '1') == 1
    assert rows()[0]['why'] == 'the loss is nan'
    monkeypatch.setattr(ablation_run, 'train', trained)
    assert search('--work-dir', 'other', '--metric', 'mIoU') == 1
    assert "metric 'mIoU': the validation gave coco/bbox_mAP" in capsys.readouterr().err
    assert search('--seeds', '2') == 2
    Path('space.py').write_text('def space(trial):\n    return 3')
    assert search('--work-dir', 'third') == 1
    assert 'space(trial) returned 3; expected a dict' in capsys.readouterr().err
    Path('space.py').write_text("def space(trial):\n    return {'optim_wrapper.optimizer.lrr': 1}")
    assert search('--work-dir', 'third') == 1
    assert 'optim_wrapper.optimizer.lrr' in capsys.readouterr().err
    Path('space.py').write_text('')
    assert search('--work-dir', 'third') == 1
    assert 'expected a function `def space(trial)`' in capsys.readouterr().err


def test_without_optuna(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    assert main(['ablate', 'base.py', '--search', 'space.py']) == 1
    assert 'the package optuna is not installed' in capsys.readouterr().err


def test_settings_become_words():
    assert [option_word(pair) for pair in (('a', 0.5), ('b', [1, 2]), ('c', (0.9, 0.999)), ('d', None), ('e', 'x'))] \
        == ['a=0.5', 'b=[1,2]', 'c=(0.9,0.999)', 'd=None', 'e=x']
