"""mmdet's ExpMomentumEMA, and our faster form of it, with `update_buffers=True` is the EMA of RT-DETR."""

import copy
import math

import pytest
import torch
from mmdet.models.layers import ExpMomentumEMA
from torch import nn

from detrove.engine.ema import ForeachExpMomentumEMA

DECAY, WARMUPS = 0.9999, 2000


def official_update(average, source, step):
    """One step of ModelEMA in rtdetr_pytorch/src/optim/ema.py, over every float entry of the state dict."""
    decay = DECAY * (1 - math.exp(-step / WARMUPS))
    for name, value in average.items():
        if value.dtype.is_floating_point:
            value.mul_(decay).add_(source[name], alpha=1 - decay)


def test_same_averages_as_rtdetr():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    ema = ExpMomentumEMA(model, momentum=1 - DECAY, gamma=WARMUPS, update_buffers=True)
    average = copy.deepcopy(model.state_dict())
    first_weights = None
    for step in range(1, 301):
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter)
        model(torch.randn(8, 3, dtype=torch.double))  # moves the running statistics
        if step == 1:
            first_weights = copy.deepcopy(model.state_dict())
        ema.update_parameters(model)
        official_update(average, model.state_dict(), step)
        if step == 1:
            # The one difference: the first update of mmengine copies, the official one moves by
            # 1 - 0.9999 * (1 - exp(-1 / 2000)) = 0.9995. The average forgets that within a few steps.
            torch.testing.assert_close(ema.module.state_dict(), first_weights)
            average = copy.deepcopy(first_weights)
        torch.testing.assert_close(
            {name: value for name, value in ema.module.state_dict().items() if value.is_floating_point()},
            {name: value for name, value in average.items() if value.is_floating_point()},
            rtol=1e-12,
            atol=1e-12,
        )
    assert not torch.equal(ema.module.state_dict()['1.running_var'], model.state_dict()['1.running_var'])


def test_the_copied_first_step_hardly_matters():
    """Relative weight of the initial weights in the official average after n steps, which mmengine's lacks."""
    weight = math.prod(DECAY * (1 - math.exp(-step / WARMUPS)) for step in range(1, 21))
    assert weight < 1e-40


@pytest.mark.parametrize(
    'options', [dict(update_buffers=True), dict(update_buffers=False), dict(update_buffers=True, interval=3)]
)
def test_one_call_over_all_tensors_gives_the_same_bits(options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    slow = ExpMomentumEMA(model, momentum=0.01, gamma=20, **options)
    fast = ForeachExpMomentumEMA(model, momentum=0.01, gamma=20, **options)
    for _ in range(12):
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter)
        model(torch.randn(8, 3))
        slow.update_parameters(model)
        fast.update_parameters(model)
        torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=0, atol=0)
