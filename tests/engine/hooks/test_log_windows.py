"""Logged numbers that are kept: those of the windows a log has, and what that leaves of the logs themselves."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import LogProcessor
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset

from detrove.engine.hooks import log_windows
from detrove.engine.hooks.log_windows import longest_window
from detrove.engine.runner import DetroveRunner
from detrove.reliability.compare import differing


class Constant(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=((self.weight - torch.stack(inputs)) ** 2).sum()) if mode == 'loss' else [BaseDataElement()]


class Count(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(seen=len(results))


class Numbers(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return dict(inputs=torch.full((2,), float(index)))


def _loader(batches):
    sampler = dict(type='DefaultSampler', shuffle=False)
    return dict(dataset=Numbers(batches), sampler=sampler, batch_size=1, num_workers=0)


def _runner(folder, *, epochs=4, **log_processor):
    return DetroveRunner(
        Constant(), str(folder), train_dataloader=_loader(9), train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)), val_dataloader=_loader(12), val_cfg={},
        val_evaluator=Evaluator(Count()), default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        log_processor=dict(type='LogProcessor', **log_processor), default_scope='mmengine',
        experiment_name=f'{folder.name}-{id(folder)}')


def _logged(folder):
    """Each line of the log without what a clock says."""
    file, = folder.glob('*/vis_data/scalars.json')
    return [{key: value for key, value in json.loads(line).items() if 'time' not in key}
            for line in file.read_text().splitlines()]


def _asking(custom_cfg=(), *, kind=LogProcessor, **settings):
    processor = kind(custom_cfg=list(custom_cfg), **settings)
    return SimpleNamespace(log_processor=processor, _train_loop=None, _val_loop=None, _test_loop=None)


@pytest.mark.parametrize('custom, longest', [
    ([], 1000),
    ([dict(data_src='loss', method_name='mean', window_size=5000)], 5000),
    ([dict(data_src='loss', method_name='mean', window_size='global')], None),
    ([dict(data_src='loss', log_name='lowest', method_name='min')], None),
    ([dict(data_src='loss', log_name='lowest', method_name='min', window_size=None)], None),
    ([dict(data_src='loss', log_name='now', method_name='current')], 1000),
    ([dict(data_src='', method_name='mean', window_size='global')], 1000),
    ([dict(data_src='loss_cls', method_name='mean', window_size='global')], 1000),
])
def test_the_longest_window_of_a_number(custom, longest):
    assert longest_window(_asking(custom), 'train/loss') == longest


def test_the_window_of_all_numbers():
    assert longest_window(_asking(window_size=3000), 'train/loss') == 3000


def test_another_log_processor_may_ask_for_anything():
    assert longest_window(_asking(kind=type('Other', (LogProcessor,), {})), 'train/loss') is None


def test_a_training_keeps_its_windows_and_logs_the_same(tmp_path, monkeypatch):
    custom = [dict(data_src='loss', log_name='highest', method_name='max', window_size='global'),
              dict(data_src='grad', method_name='mean', window_size='epoch')]
    for at_least in (10**6, 1):
        monkeypatch.setattr(log_windows, '_AT_LEAST', at_least)
        runner = _runner(tmp_path / str(at_least), window_size=3, custom_cfg=custom)
        runner.train()
    everything, windows = (_logged(tmp_path / name) for name in ('1000000', '1'))
    assert windows == everything and 'highest' in windows[0]
    kept = {name: len(history.data[0]) for name, history in runner.message_hub.log_scalars.items()}
    assert kept['train/loss'] == 36  # 'global'
    assert kept['train/lr'] == 3 and kept['train/time'] == 9  # an epoch of training
    assert kept['val/time'] == kept['val/data_time'] == 12


def test_a_resumed_training_has_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(log_windows, '_AT_LEAST', 5)
    straight = _runner(tmp_path / 'straight', window_size=2)
    straight.train()
    _runner(tmp_path / 'parts', window_size=2, epochs=2).train()
    resumed = _runner(tmp_path / 'parts', window_size=2)
    resumed.resume(str(tmp_path / 'parts/epoch_2.pth'))
    resumed.train()
    one, other = ({name: history.data[0] for name, history in runner.message_hub.log_scalars.items()
                   if 'time' not in name} for runner in (straight, resumed))
    assert len(one['train/loss']) == 5 and not differing(one, other, 'logged')


def test_what_a_checkpoint_has_too_much_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(log_windows, '_AT_LEAST', 10**6)
    _runner(tmp_path / 'all', window_size=2, epochs=2).train()
    checkpoint = torch.load(tmp_path / 'all/epoch_2.pth', weights_only=False)
    assert len(checkpoint['message_hub']['log_scalars']['train/loss'].data[0]) == 18
    monkeypatch.setattr(log_windows, '_AT_LEAST', 5)
    resumed = _runner(tmp_path / 'all', window_size=2, epochs=3)
    resumed.resume(str(tmp_path / 'all/epoch_2.pth'))
    resumed.train()
    checkpoint = torch.load(tmp_path / 'all/epoch_3.pth', weights_only=False)
    assert len(checkpoint['message_hub']['log_scalars']['train/loss'].data[0]) == 5
