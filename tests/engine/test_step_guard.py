"""Steps whose numbers are not finite, or that do not fit into memory."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader

from detrove.cli import main
from detrove.engine.step_guard import StepGuard


@MODELS.register_module()
class GuardedModel(BaseModel):
    """Two layers and a loss; `broken` says where numbers go wrong for images of negative mean."""

    def __init__(self, broken='forward'):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.broken = broken

    def forward(self, inputs, data_samples=None, mode='loss'):
        if self.broken == 'memory':
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')
        images = torch.stack(inputs)
        hidden = self.norm(self.first(images))
        if images.mean() < 0 and self.broken == 'forward':
            hidden = hidden * float('inf')
        out = self.second(hidden)
        if images.mean() < 0 and self.broken == 'backward':  # the root's slope at zero
            out = (out * 0).sqrt()
        return dict(loss_a=out.square().mean(), loss_b=out.abs().mean())


def batch(sign=1.0):
    names = [DetDataSample(metainfo=dict(img_path=f'{name}.jpg')) for name in 'ab']
    return dict(inputs=[sign * torch.rand(4) for _ in names], data_samples=names)


@pytest.fixture
def make(tmp_path):
    def make(broken='forward', clip_grad=None, **settings):
        torch.manual_seed(0)
        MessageHub.get_instance('guard')
        model = GuardedModel(broken).train()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), clip_grad=clip_grad)
        cfg = Config(dict(model=dict(type='GuardedModel', broken=broken), default_scope='mmdet',
                          train_dataloader=dict(batch_size=2), **settings))
        runner = SimpleNamespace(model=model, optim_wrapper=wrapper, cfg=cfg, iter=6, epoch=0, work_dir=tmp_path,
                                 logger=logging.getLogger('guard'), message_hub=wrapper.message_hub)
        return StepGuard(runner, DataLoader([0]))

    return make


def weights(guard):
    return {name: value.clone() for name, value in guard.model.state_dict().items()}


def test_an_ordinary_step_is_the_models_own(make):
    guard, alone = make(clip_grad=dict(max_norm=1.0)), make(clip_grad=dict(max_norm=1.0))
    data = batch()
    with guard:
        losses = guard.step(data)
    expected = alone.model.train_step(data, alone.runner.optim_wrapper)
    assert {name: value.item() for name, value in losses.items()} == {
        name: value.item() for name, value in expected.items()}
    for name, value in weights(alone).items():
        assert torch.equal(value, guard.model.state_dict()[name]), name
    assert 'parse_losses' not in vars(guard.model)


@pytest.mark.parametrize(
    ('broken', 'what', 'where'),
    [
        ('forward', 'loss is ', 'first non-finite module: second'),
        ('backward', 'the gradient norm is nan', 'that of the output of second'),
    ],
)
def test_it_stops_before_the_weights_change_and_can_be_replayed(make, capsys, broken, what, where):
    guard = make(broken, clip_grad=dict(max_norm=1.0))
    parameters = [parameter.clone() for parameter in guard.model.parameters()]
    with guard, pytest.raises(ValueError) as caught:
        guard.step(batch(-1))
    message = str(caught.value)
    assert 'iteration 7: ' in message and what in message and where in message
    assert 'images: a.jpg, b.jpg' in message and 'skip_non_finite=N' in message
    assert all(map(torch.equal, guard.model.parameters(), parameters))
    (file,) = guard.runner.work_dir.glob('non_finite/*.pth')
    assert file.name == 'iter_7.pth' and f'detrove replay {file}' in message
    assert main(['replay', str(file)]) == 0
    output = capsys.readouterr().out
    assert where in output and 'image a.jpg' in output


def test_steps_may_be_left_out_up_to_a_limit(make, caplog):
    guard = make(clip_grad=dict(max_norm=1.0), skip_non_finite=1)
    with guard:
        guard.step(batch())
        before = weights(guard)
        assert 'loss' not in guard.step(batch(-1))
        assert 'left out (1 of at most 1)' in caplog.text
        for name, value in weights(guard).items():  # batch norms, too
            assert torch.equal(value, before[name]), name
        guard.step(batch())
        assert not torch.equal(weights(guard)['first.weight'], before['first.weight'])
        with pytest.raises(ValueError, match='iteration 7'):
            guard.step(batch(-1))


@pytest.mark.parametrize('limit', [-1, True, 1.5])
def test_a_wrong_limit(make, limit):
    with pytest.raises(ValueError, match='skip_non_finite=.*number of steps'):
        make(skip_non_finite=limit)


def test_loss_scales_that_overflow_are_counted(make):
    guard = make('none')
    scaler = SimpleNamespace(overflows=True)
    wrapper = guard.runner.optim_wrapper
    wrapper.loss_scaler = scaler
    step = wrapper.step
    wrapper.step = lambda **kwargs: None if scaler.overflows else step(**kwargs)
    with guard:
        guard.step(batch())
        scaler.overflows = False
        guard.step(batch())
        assert guard.overflows == 1
        assert wrapper.message_hub.get_scalar('train/amp_overflows').current() == 1
        scaler.overflows = True
        with pytest.raises(ValueError, match='30 steps in a row overflowed'):
            for _ in range(30):
                guard.step(batch())


def test_out_of_memory_names_sizes_and_settings(make):
    guard = make('memory')
    data = dict(batch(), inputs=[torch.zeros(3, 480, 640), torch.zeros(3, 800, 200)])
    with guard, pytest.raises(torch.OutOfMemoryError) as caught:
        guard.step(data)
    message = str(caught.value)
    for part in ('iteration 7: out of memory. CUDA out of memory', '2 images, height x width: 480 x 640, 800 x 200; '
                 'padded together 800 x 640', '--amp', 'train_dataloader.batch_size=1 (and optim_wrapper.'
                 'accumulative_counts=2 for the same step)', 'smaller images'):
        assert part in message


def test_a_file_that_is_no_step(tmp_path, capsys):
    file = tmp_path / 'x.pth'
    for content in (b'', b'xyz'):
        file.write_bytes(content)
        assert main(['replay', str(file)]) == 1
        assert 'not a step that training saved' in capsys.readouterr().err
    torch.save(dict(batch=1), file)
    assert main(['replay', str(file)]) == 1
    assert 'WORK_DIR/non_finite' in capsys.readouterr().err
