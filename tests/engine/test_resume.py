"""Resuming with other settings."""

import json
from types import SimpleNamespace

import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, OptimWrapper

from detrove.engine.resume import differences, group_settings, take_settings_of_now


def test_every_difference_is_named():
    before = dict(processes=8, optim_wrapper=dict(lr=1, betas=[0.9, 0.99]), param_scheduler=[dict(milestones=[8])])
    now = dict(processes=4, optim_wrapper=dict(lr=1, betas=[0.9, 0.999]), param_scheduler=None)
    assert differences(before, now) == [
        'optim_wrapper.betas.1: 0.99 in the checkpoint, 0.999 now',
        'param_scheduler.0.milestones.0: 8 in the checkpoint, not set now',
        'processes: 8 in the checkpoint, 4 now',
    ]
    assert differences(now, now) == []


class Run:
    """What resuming touches of a runner: schedules of six epochs, and where they are."""

    def __init__(self, lr, *, epoch_length=4, milestone=4):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
        self.optim_wrapper = OptimWrapper(optimizer)
        self.train_loop = SimpleNamespace(_iter=0, _epoch=0, dataloader=range(epoch_length))
        self.param_schedulers = [
            LinearLR(optimizer, start_factor=0.1, end=5, by_epoch=False),
            MultiStepLR(optimizer, milestones=[milestone], by_epoch=True),
            CosineAnnealingLR(optimizer, T_max=24, by_epoch=False),
        ]
        self.logger = SimpleNamespace(warning=print)

    def train(self, steps):
        length = len(self.train_loop.dataloader)
        for step in range(1, steps + 1):
            for scheduler in self.param_schedulers:
                if not scheduler.by_epoch or step % length == 0:
                    scheduler.step()
        self.train_loop._iter, self.train_loop._epoch = steps, steps // length

    def resume(self, before):
        """As DetroveRunner.resume does it: everything from the checkpoint, then the settings of now."""
        fresh = group_settings(self.optim_wrapper), [dict(one.state_dict()) for one in self.param_schedulers]
        self.resumed = dict(settings=json.dumps(dict(iterations_per_epoch=len(before.train_loop.dataloader))))
        self.optim_wrapper.load_state_dict(before.optim_wrapper.state_dict())
        for one, other in zip(self.param_schedulers, before.param_schedulers, strict=True):
            one.load_state_dict(other.state_dict())
        self.train_loop._iter, self.train_loop._epoch = before.train_loop._iter, before.train_loop._epoch
        take_settings_of_now(self, *fresh)

    @property
    def lr(self):
        return self.optim_wrapper.param_groups[0]['lr']


def test_the_schedule_of_now_from_here_on():
    before, now, reference = Run(0.1), Run(0.4, milestone=2), Run(0.4, milestone=2)
    before.train(14)
    now.resume(before)
    reference.train(14)
    assert now.lr == reference.lr != before.lr
    for run in (now, reference):
        for _ in range(3):
            for scheduler in run.param_schedulers:
                scheduler.step()
    assert now.lr == reference.lr


def test_epochs_of_another_length_go_on_at_the_same_part(monkeypatch, capsys):
    monkeypatch.setattr('detrove.engine.resume.EpochBasedTrainLoop', SimpleNamespace)
    before, now = Run(0.1), Run(0.1, epoch_length=8)
    before.train(14)
    now.resume(before)
    assert (now.train_loop._iter, now.train_loop._epoch) == (28, 3)
    assert 'an epoch has 8 iterations, before 4' in capsys.readouterr().out
