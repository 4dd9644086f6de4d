"""Measuring: what is counted is right, and the command says it."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from detrove.benchmark import Contestant, as_table, measure
from detrove.benchmark.contestant import Workload
from detrove.benchmark.measure import median_and_spread
from detrove.cli import main

NANO = Path(__file__).resolve().parents[2] / 'configs/rt_detr/rtdetr_nano_shapes.py'


@MODELS.register_module(force=True)
class OneLinearOfATest(torch.nn.Module):
    """A model of one matrix product: 10 outputs from the mean of each channel."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 10, bias=False)

    def _forward(self, inputs, data_samples=None):
        return self.linear(inputs.mean((2, 3)))

    def loss(self, inputs, data_samples):
        assert all(len(sample.gt_instances.bboxes) == 5 for sample in data_samples)
        return dict(loss=self._forward(inputs).square().sum())

    def parse_losses(self, losses):
        return losses['loss'], losses


def test_a_model_with_masks():
    config = Config.fromfile(NANO.with_name('rtdetr-ins_nano_shapes.py'))
    (result,) = measure([Contestant('masks', config, Workload(size_hw=(96, 128), objects=3))], rounds=1, warmup=1)
    assert result.flops and result.saved_bytes and len(result.train_s) == len(result.predict_s) == 1


@pytest.fixture
def contestant():
    config = Config(dict(model=dict(type='OneLinearOfATest')))
    return Contestant('linear', config, Workload(size_hw=(8, 16), batch=4, objects=5))


def test_counts(contestant):
    (result,) = measure([contestant], rounds=3, warmup=1)
    assert result.num_parameters == 30
    assert result.flops == 2 * 4 * 3 * 10
    assert len(result.predict_s) == len(result.train_s) == 3
    assert list(result.train_parts_s) == ['forward', 'backward', 'optimiser']
    assert result.train_s[0] == pytest.approx(sum(times[0] for times in result.train_parts_s.values()))
    # the mean of each image's channels, for the weight's gradient, and the output, for its square
    assert result.saved_bytes == 4 * (4 * 3 + 4 * 10)
    assert result.peak_bytes is None


def test_deformable_sampling_is_counted():
    from torch.utils.flop_counter import FlopCounterMode

    from detrove.ops import ms_deform_attn
    value, locations, weights = torch.rand(2, 30, 4, 8), torch.rand(2, 5, 4, 6, 2), torch.rand(2, 5, 4, 6)
    with FlopCounterMode(display=False) as counter:
        ms_deform_attn(value, ((4, 6), (2, 3)), locations, weights, num_points=(3, 3))
    assert counter.get_total_flops() == 2 * 4 * (2 * 5 * 4 * 6 * 8)


def test_table_has_ratios_to_the_first(contestant):
    results = measure([contestant, contestant], rounds=1, warmup=1, predict=False)
    results[0].train_s, results[1].train_s = [0.010], [0.025]
    table = as_table(results)
    assert '| 10.0 ± 0.0 | 1.00 |' in table and '| 25.0 ± 0.0 | 2.50 |' in table and 'inference' not in table


def test_median_and_spread():
    assert median_and_spread([1.0, 2.0, 3.0, 4.0, 100.0]) == (3.0, 1.0)
    assert median_and_spread([7.0]) == (7.0, 0.0)


def test_boxes_lie_inside_the_image():
    _, samples = Workload(size_hw=(30, 50), batch=2, objects=40).make_batch(num_classes=3)
    boxes = torch.cat([sample.gt_instances.bboxes for sample in samples])
    assert len(boxes) == 80 and (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0
    assert boxes[:, 2].max() <= 50 and boxes[:, 3].max() <= 30


def test_command(tmp_path, capsys):
    out = tmp_path / 'times.json'
    arguments = ['benchmark', str(NANO), 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', '--size', '64', '64', '--rounds',
                 '1', '--warmup', '1', '--device', 'cpu', '--json', str(out)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert 'rtdetr_nano_shapes' in shown and 'yolox_tiny' in shown and 'matching and losses (ms)' in shown
    assert 'optimizer group' not in shown
    content = json.loads(out.read_text())
    assert content['workload']['size_hw'] == [64, 64] and len(content['results'][0]['train_s']) == 1
    assert main(arguments) == 1
    assert 'pass --force' in capsys.readouterr().err


def test_wrong_numbers_are_named(capsys):
    assert main(['benchmark', str(NANO), '--rounds', '0']) == 1
    assert '--rounds 0 must be at least 1' in capsys.readouterr().err
