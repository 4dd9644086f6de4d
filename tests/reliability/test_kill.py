"""A training that was interrupted, however, ends with the same bits as one that was not."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from detrove.cli import main
from detrove.engine.checkpoint_files import choose_checkpoint
from detrove.engine.hooks.checkpoint import EXIT_REQUEUE
from detrove.engine.step_guard import StepGuard
from detrove.reliability.compare import differences_of_runs, differing
from detrove.reliability.kill import Kill, kill_and_resume, train, write_small_run

WITH_A_WORKER = ('--cfg-options', 'train_dataloader.num_workers=1')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """`(config, work directory)` of eight steps in two epochs that were left alone."""
    folder = tmp_path_factory.mktemp('kill')
    config = write_small_run(folder, images=8, epochs=2)
    assert train(config, folder / 'alone') == 0, (folder / 'alone.log').read_text()
    return config, folder / 'alone'


@pytest.mark.parametrize(
    ('kill', 'options'),
    [(Kill('step', 7), ()), (Kill('during write', 3), WITH_A_WORKER), (Kill('validation', 2), ())],
    ids=str,
)
def test_the_same_bits_after_a_kill(run, tmp_path, kill, options):
    assert kill_and_resume(run[0], tmp_path / 'killed', kill, options)
    assert differences_of_runs(run[1], tmp_path / 'killed') == []


def test_sigterm_saves_and_asks_to_be_started_again(run, tmp_path, monkeypatch, capsys):
    """In the middle of an epoch; and the checkpoint made then is damaged before training goes on."""
    steps = []
    before_update = StepGuard._before_update

    def with_a_signal(self, *args):
        steps.append(self)
        if len(steps) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return before_update(self, *args)

    monkeypatch.setattr(StepGuard, '_before_update', with_a_signal)
    handler = signal.getsignal(signal.SIGTERM)
    command = ['train', str(run[0]), '--work-dir', str(tmp_path / 'work'), '--no-preflight']
    assert main(command) == EXIT_REQUEUE
    assert signal.getsignal(signal.SIGTERM) is handler
    saved = Path((tmp_path / 'work/last_checkpoint').read_text())
    assert saved.name == 'iter_6.pth'
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    monkeypatch.undo()
    capsys.readouterr()
    assert main([*command, '--resume']) == 0
    output = capsys.readouterr().out
    assert f'left out: {saved}: damaged (the check sum of ' in output and 'iter_4.pth' in output
    assert differences_of_runs(run[1], tmp_path / 'work') == []


@pytest.fixture
def copied(run, tmp_path):
    """The work directory of the run that was left alone, to be spoiled."""
    work_dir = shutil.copytree(run[1], tmp_path / 'copy')
    return run[0], work_dir


def test_other_settings_are_a_choice(copied, capsys):
    config, work_dir = copied
    command = ['train', str(config), '--work-dir', str(work_dir), '--no-preflight', '--resume']
    changed = ['--cfg-options', 'optim_wrapper.optimizer.lr=0.5', 'param_scheduler.1.eta_min_ratio=0.5']
    assert main([*command, *changed]) == 1
    message = capsys.readouterr().err
    assert 'optim_wrapper.optimizer.lr: 0.0008 in the checkpoint, 0.5 now' in message
    assert 'param_scheduler.1.eta_min_ratio: 0.01 in the checkpoint, 0.5 now' in message
    assert '--resume-changed' in message and message.startswith('error: ')
    assert main(['train', str(config), '--work-dir', str(work_dir), '--resume-changed']) == 1
    assert 'give --resume, too' in capsys.readouterr().err


def test_comparing_finds_a_bit(copied, run):
    _, work_dir = copied
    assert differences_of_runs(run[1], work_dir) == []
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[2]['loss'] += 1e-6
    log.write_text('\n'.join(map(json.dumps, lines)))
    (found,) = differences_of_runs(run[1], work_dir)
    assert found.startswith("log of ('train', 3)")
    zeros = torch.zeros(2), torch.tensor([0.0, -0.0])
    assert differing({'a': [zeros[0]]}, {'a': [zeros[1]]}, 'x') == ['x.a.0: tensors differ']
    assert differing({'a': 1}, {'b': 1}, 'x') == ['x.a: only in one of them', 'x.b: only in one of them']


def test_the_checkpoint_before_a_missing_one(copied):
    work_dir = copied[1]
    last, before = sorted(work_dir.glob('iter_*.pth'), key=lambda path: path.stat().st_mtime_ns, reverse=True)[:2]
    (work_dir / 'last_checkpoint').write_text(str(last))
    last.unlink()
    path, (problem,) = choose_checkpoint(work_dir)
    assert path == before and 'no such file' in problem
