"""Two processes that share out the weights train as two that have all of them, and what they save is for everyone.

All of it runs in two processes that are started once.
"""

import shutil
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from torch import nn
from torch.torch_version import TorchVersion

from detrove.apis import build_model
from detrove.checkpoints import load_weights, read_checkpoint
from detrove.cli import main
from detrove.detectors import OneDETR
from detrove.engine import fsdp
from detrove.engine.config_file import find_config
from detrove.engine.non_finite import read_step
from detrove.reliability.compare import differences_of_runs
from detrove.reliability.kill import write_small_run
from detrove.reliability.ranks import log_of, run_ranks

SWIN = dict(type='Swin', arch=dict(embed_dims=24, depths=(1, 1, 2), num_heads=(1, 2, 3)), window_size=4,
            drop_path_rate=0.2, out_indices=(0, 1, 2), with_cp=True)


def write_run(folder):
    """A DINO with a Swin, two epochs of two steps."""
    cfg = Config.fromfile(write_small_run(folder, images=4, epochs=2))
    cfg.model = Config.fromfile(find_config('dino/dino_nano_shapes.py')).model
    cfg.model.backbone = SWIN
    cfg.model.neck.in_channels = [24, 48, 96]
    cfg.model.query_selection.num_queries, cfg.model.denoising.num_queries = 20, 10
    cfg.train_dataloader.batch_size = cfg.val_dataloader.batch_size = 1
    cfg.val_dataloader.dataset.indices = [0]  # nothing is left for the second process
    cfg.channels_last = False
    cfg.default_hooks.checkpoint.interval = 2
    cfg.optim_wrapper.paramwise_cfg = dict(
        groups=[dict(match=r'norm|bias', decay_mult=0.0), dict(match='^backbone', lr_mult=0.5)])
    cfg.dump(folder / 'run.py')


def train(folder, name, *options, resume=(), expect=0):
    command = ['train', str(folder / 'run.py'), '--launcher', 'pytorch', '--no-preflight', '--work-dir',
               str(folder / name), *resume]
    assert main([*command, '--cfg-options', *options]) == expect


def run_rank(rank, folder):
    train(folder, 'ddp', 'model_wrapper_cfg.static_graph=True', 'model_wrapper_cfg.broadcast_buffers=False')
    train(folder, 'fsdp', 'fsdp=True')
    if rank == 0:  # as if the training had ended at the end of the first epoch, before its validation
        shutil.copytree(folder / 'fsdp', folder / 'again')
        (folder / 'again/iter_4.pth').unlink()
        (folder / 'again/last_checkpoint').write_text(str(folder / 'again/iter_2.pth'))
    torch.distributed.barrier()
    train(folder, 'again', 'fsdp=True', resume=['--resume'])
    accumulate = 'optim_wrapper.accumulative_counts=2'
    train(folder, 'to_ddp', accumulate, resume=['--resume', str(folder / 'fsdp/iter_2.pth'), '--resume-changed'])
    train(folder, 'to_fsdp', accumulate, 'fsdp.reshard_after_forward=False',
          resume=['--resume', str(folder / 'ddp/iter_2.pth'), '--resume-changed'])
    if rank == 1:
        mock.patch.object(OneDETR, 'compute_losses', _not_a_number(OneDETR.compute_losses)).start()
    train(folder, 'broken', 'fsdp=True', expect=1)


def _not_a_number(compute_losses):
    return lambda *args: {name: loss * float('nan') for name, loss in compute_losses(*args).items()}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The folder of all of them; read-only."""
    folder = tmp_path_factory.mktemp('fsdp')
    write_run(folder)
    statuses = run_ranks(__file__, 'run_rank', 2, folder, timeout_s=900)
    assert statuses == [0, 0], log_of(folder, 0) + log_of(folder, 1)
    return folder


def last(work_dir):
    return read_checkpoint(str(work_dir / 'iter_4.pth'))


def assert_close(runs, one, other):
    first, second = last(runs / one), last(runs / other)
    entries = ('state_dict', 'ema_state_dict', 'optimizer')
    torch.testing.assert_close(*({entry: dict(checkpoint[entry]) for entry in entries} for checkpoint in
                                 (first, second)), rtol=1e-5, atol=1e-5)
    for name, history in first['message_hub']['log_scalars'].items():
        if name.startswith(('train/loss', 'train/grad_norm', 'val/coco')):
            expected, found = (torch.tensor(values._log_history[-2:]) for values in
                               (history, second['message_hub']['log_scalars'][name]))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(('one', 'other'), [('ddp', 'fsdp'), ('to_ddp', 'to_fsdp')])
def test_as_processes_that_have_everything(runs, one, other):
    """Also where each went on from what the other had saved, with accumulated gradients."""
    assert_close(runs, one, other)


@pytest.mark.slow
def test_resumed_with_the_same_bits(runs):
    assert differences_of_runs(runs / 'fsdp', runs / 'again') == []


@pytest.mark.slow
def test_each_process_has_half(runs):
    model = build_model(runs / 'run.py')
    total = sum(parameter.numel() for parameter in model.parameters())
    text = log_of(runs, 0)
    mine = int(text.partition('fsdp: ')[2].partition(' of ')[0].replace(',', ''))
    assert f' of {total:,} values of the model in this process; gathered by 8 blocks and the rest' in text
    assert total / 2 <= mine < 0.51 * total
    assert load_weights(model, last(runs / 'fsdp')['state_dict'], source='fsdp', must_be_complete=True)


@pytest.mark.slow
def test_one_process_goes_on(runs, tmp_path, capsys):
    """With the same config, in which `fsdp` then does nothing."""
    command = ['train', str(runs / 'run.py'), '--no-preflight', '--work-dir', str(tmp_path / 'alone'), '--resume',
               str(runs / 'fsdp/iter_2.pth'), '--resume-changed', '--cfg-options', 'fsdp=True',
               'train_dataloader.batch_size=2']
    assert main(command) == 0
    checkpoint = read_checkpoint(str(tmp_path / 'alone/iter_4.pth'))
    assert set(checkpoint['optimizer']['state']) == set(last(runs / 'fsdp')['optimizer']['state'])


@pytest.mark.slow
def test_a_step_that_is_not_finite(runs):
    for rank in range(2):
        text = log_of(runs, rank)
        (path,) = (runs / 'broken/non_finite').glob(f'*_rank{rank}.pth')
        assert 'the weights are those before this step' in text and str(path) in text
        step = read_step(path)
        model = build_model(runs / 'run.py')
        assert {name: value.shape for name, value in step['state_dict'].items()} == {
            name: value.shape for name, value in model.state_dict().items()}


def runner_of(model=None, clip_grad=None, **cfg):
    model = model or nn.Linear(2, 2)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1), clip_grad=clip_grad or dict(max_norm=1.0))
    return SimpleNamespace(cfg=ConfigDict(dict(fsdp=True) | cfg), model=model, optim_wrapper=wrapper)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(fsdp=dict(shards=2)), r"fsdp={'shards': 2}: True is expected, or a dict with `blocks`"),
        (dict(fsdp=dict(reshard_after_forward=4)), r'`reshard_after_forward` \(True or False\)'),
        (dict(channels_last=True), r'channels_last=True: leave out one of them \(fsdp=False, or channels_last=False\)'),
        (dict(model_wrapper_cfg=dict(static_graph=True)), 'or model_wrapper_cfg=None'),
        (dict(clip_grad=dict(type='value', clip_value=1.0)), r'fsdp needs optim_wrapper.clip_grad=dict\(max_norm='),
        (dict(model=nn.ParameterDict(dict(scale=torch.ones(())))), 'first dimension, which scale do not have'),
    ],
)  # fmt: skip
def test_what_does_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        fsdp._checked(runner_of(**settings))


def test_an_older_torch(monkeypatch):
    monkeypatch.setattr(torch, '__version__', TorchVersion('2.9.1'))
    with pytest.raises(ValueError, match=r'torch 2.9.1 is installed, and 2.15 is the first that was tested'):
        fsdp._checked(runner_of())
