"""Finding the blocks of a model, and computing them again in the backward pass."""

import runpy
from pathlib import Path

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import nn

from detrove.apis import build_model
from detrove.benchmark.memory import saved_bytes
from detrove.engine.blocks import find_blocks, recompute

ROOT = Path(__file__).resolve().parents[2]
losses = runpy.run_path(str(Path(__file__).with_name('test_compile.py')))['losses']


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        ('dino/dino-5scale_swin-l_8xb2-12e_coco.py',
         {'backbone.stages': 24, 'encoder.layers': 6, 'decoder.layers': 6}),
        ('relation_detr/relation-detr_focalnet-l_8xb2-24e_coco.py',
         {'backbone.layers': 24, 'encoder.layers': 6, 'decoder.layers': 6}),
        ('rt_detr/rtdetr_nano_shapes.py', {'decoder.layers': 2}),
    ],
)
def test_the_blocks_of_a_model(config, expected):
    with torch.device('meta'):
        model = build_model(ROOT / 'configs' / config)
    found = find_blocks(model)
    for name, count in expected.items():
        assert sum(block.startswith(f'{name}.') for block in found) == count, list(found)
    assert not [name for name in found for other in found if other.startswith(f'{name}.')]


def test_what_is_no_block():
    """Single layers, stages, and a perceptron inside a block, which MMCV calls `layers`, too."""
    block = nn.ModuleDict(dict(ffn=FFN(8, 8)))
    model = nn.ModuleDict(dict(
        head=nn.ModuleDict(dict(layers=nn.ModuleList([nn.Linear(2, 2)]))),
        layers=nn.ModuleList([nn.ModuleDict(dict(blocks=nn.Sequential(nn.Sequential(block.ffn))))])))
    assert list(find_blocks(model)) == ['layers.0.blocks.0']
    assert list(find_blocks(model, ['head.layers'])) == ['head.layers.0']
    with pytest.raises(ValueError, match=r"ModuleDict has no module 'neck'. Its parts are \['head', 'layers'\]"):
        find_blocks(model, ['neck'])
    with pytest.raises(ValueError, match='ModuleDict has no lists of transformer blocks. Name modules'):
        recompute(model.head, True)


@pytest.mark.parametrize('config', ['dino/dino_nano_shapes.py', 'rt_detr/rtdetr_nano_shapes.py'])
def test_the_same_gradients_from_less_memory(config):
    def run(names):
        torch.manual_seed(0)
        model = build_model(ROOT / 'configs' / config).train()
        recompute(model, names)
        found = {}
        kept = saved_bytes(lambda: found.update(losses(model, (64, 64), (2, 3))), model)
        return kept, found, {name: parameter.grad for name, parameter in model.named_parameters()}

    plain, recomputed = run(False), run(True)
    assert recomputed[0] < plain[0]
    torch.testing.assert_close(recomputed[1:], plain[1:], rtol=0, atol=0)


class Block(nn.Module):
    """Drops at random, keeps what `with_cp` would, and takes an argument by name, as layers of Conditional DETR do."""

    def __init__(self, with_cp=False):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5)
        self.calls = 0
        self.with_cp = with_cp

    def forward(self, x, *, scale):
        self.calls += 1
        return self.dropout(self.linear(x)) * scale


def test_names_keywords_and_blocks_that_recompute_themselves():
    model = nn.ModuleDict(dict(layers=nn.ModuleList([Block(), Block(with_cp=True)])))
    recompute(model, 'layers')
    first, second = model.layers
    grads = []
    for x in (torch.ones(2, 4), torch.ones(2, 4)):
        torch.manual_seed(0)
        model.zero_grad()
        second(first(x, scale=2.0), scale=3.0).sum().backward()
        grads.append(first.linear.weight.grad.clone())
        first.forward = type(first).forward.__get__(first)  # as it was, for the second time
    assert torch.equal(*grads)
    assert (first.calls, second.calls) == (3, 2)
    model.eval()
    with torch.no_grad():
        first(torch.ones(1, 4), scale=1.0)
    assert first.calls == 4


def test_batch_norms_would_take_a_batch_in_twice():
    """Blocks with them are only taken where they are named."""
    block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model = nn.ModuleDict(dict(blocks=nn.ModuleList([block])))
    with pytest.raises(ValueError, match='no lists of transformer blocks'):
        recompute(model, True)
    recompute(model, ['blocks'])
    model.blocks[0](torch.ones(2, 2, requires_grad=True)).sum().backward()
    assert block[1].num_batches_tracked == 2
