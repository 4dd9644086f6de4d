"""Measuring: what is counted is right, and the command says it."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from detrove.benchmark import ConfigContestant, Workload, as_table, measure
from detrove.benchmark.flops import count_flops
from detrove.benchmark.measure import median_and_spread
from detrove.benchmark.memory import peak_bytes
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
        return self.loss_by_feat(self._forward(inputs))

    def loss_by_feat(self, outputs):
        return dict(loss=outputs.square().sum(), accuracy=outputs.new_tensor(float('nan')))


@pytest.fixture
def contestant():
    config = Config(dict(model=dict(type='OneLinearOfATest')))
    return ConfigContestant('linear', config, Workload(size_hw=(8, 16), batch=4, objects=5))


def test_counts(contestant):
    (result,) = measure([contestant], rounds=3, warmup=1)
    assert result.num_parameters == 30
    assert result.flops == 2 * 4 * 3 * 10
    assert len(result.predict_s) == len(result.train_s) == 3
    assert list(result.train_parts_s) == ['forward', 'matching and losses', 'backward', 'optimiser']
    assert result.train_s[0] == pytest.approx(sum(times[0] for times in result.train_parts_s.values()))
    # the mean of each image's channels, for the weight's gradient, and the output, for its square
    assert result.saved_bytes == 4 * (4 * 3 + 4 * 10)
    assert result.peak_bytes > 4 * 30


def test_losses_inside_the_forward_pass_count_for_themselves(contestant):
    ticks = iter(range(100))
    contestant.clock = lambda: next(ticks)  # each look at the clock is one second
    forward = next(contestant.train_parts())
    assert forward == ('forward', {'matching and losses': 1})


def test_a_step_changes_the_weights_and_clears_gradients(contestant):
    before = contestant.model.linear.weight.clone()
    assert len([*contestant.train_parts()]) == 4
    assert not torch.equal(before, contestant.model.linear.weight) and contestant.model.linear.weight.grad is None


def test_bf16_runs_in_bf16():
    config = Config(dict(model=dict(type='OneLinearOfATest')))
    contestant = ConfigContestant('linear', config, Workload((8, 16), 4, 5, precision='bf16'))
    seen = []
    contestant.model.linear.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    measure([contestant], rounds=1, warmup=1)
    assert set(seen) == {torch.bfloat16} and contestant.model.linear.weight.dtype == torch.float32
    with pytest.raises(ValueError, match="precision 'half' must be one of"):
        Workload(precision='half')


def test_attention_is_counted():
    layer = torch.nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()
    tokens = torch.rand(3, 5, 8)
    projections, attention, feedforward = 4 * 8 * 8, 2 * 5 * 8, 2 * 8 * 16  # products for each token
    with torch.no_grad():
        assert count_flops(lambda: layer(tokens)) == 2 * 3 * 5 * (projections + attention + feedforward)
    assert torch.backends.mha.get_fastpath_enabled()


def test_deformable_sampling_counts_the_same_in_both_forms():
    from detrove.ops import ms_deform_attn
    from detrove.ops.ms_deform_attn import ms_deform_attn_reference
    value, locations, weights = torch.rand(2, 30, 4, 8), torch.rand(2, 5, 4, 6, 2), torch.rand(2, 5, 4, 6)
    for form in (ms_deform_attn, ms_deform_attn_reference):
        flops = count_flops(lambda form=form: form(value, ((4, 6), (2, 3)), locations, weights, num_points=(3, 3)))
        assert flops == 2 * 4 * (2 * 5 * 4 * 6 * 8)


def test_peak_memory():
    def run():
        kept = torch.zeros(2**18)
        torch.zeros(2**20).sum()
        return kept

    assert 4 * (2**18 + 2**20) <= peak_bytes(run, torch.device('cpu')) < 4 * (2**18 + 2**20) + 2**16


def test_table_has_ratios_to_the_first(contestant):
    results = measure([contestant, contestant], rounds=1, warmup=1, predict=False)
    results[0].train_s, results[1].train_s = [0.010], [0.025]
    table = as_table(results, batch=4)
    assert '| 10.0 ± 0.0 | 1.00 | 400 |' in table and '| 25.0 ± 0.0 | 2.50 | 160 |' in table
    assert 'inference' not in table and 'data' not in table


def test_median_and_spread():
    assert median_and_spread([1.0, 2.0, 3.0, 4.0, 100.0]) == (3.0, 1.0)
    assert median_and_spread([7.0]) == (7.0, 0.0)


def test_boxes_lie_inside_the_image():
    samples = Workload(size_hw=(30, 50), batch=2, objects=40).detection_samples(num_classes=3)
    boxes = torch.cat([sample.gt_instances.bboxes for sample in samples])
    assert len(boxes) == 80 and (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0
    assert boxes[:, 2].max() <= 50 and boxes[:, 3].max() <= 30


def test_command(tmp_path, capsys):
    out = tmp_path / 'times.json'
    arguments = ['benchmark', str(NANO), 'yolox=mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', '--size', '64', '64',
                 '--rounds', '1', '--warmup', '1', '--device', 'cpu', '--fuse', '--json', str(out)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert 'rtdetr_nano_shapes' in shown and '| yolox |' in shown and 'matching and losses (ms)' in shown
    assert 'data (images/s of one process)' in shown and 'not measured' not in shown
    assert 'optimizer group' not in shown
    content = json.loads(out.read_text())
    assert content['workload']['size_hw'] == [64, 64] and content['options']['fuse'] is True
    for result in content['results']:
        assert len(result['train_s']) == len(result['predict_s']) == len(result['data_s']) == 1
        assert all(times[0] > 0 for times in result['train_parts_s'].values())
    assert main(arguments) == 1
    assert 'pass --force' in capsys.readouterr().err


def test_wrong_numbers_are_named(capsys):
    assert main(['benchmark', str(NANO), '--rounds', '0']) == 1
    assert '--rounds 0 must be at least 1' in capsys.readouterr().err
    assert main(['benchmark', str(NANO), '--plot', 'growth.png']) == 1
    assert '--plot draws what --grow measures' in capsys.readouterr().err
