"""Stochastic depth of the shared block, which computes branches only for images that keep them."""

import pytest
import torch
from torch import nn

from detrove.backbones import AttentionBlock

RATE = 0.5


class Double(nn.Module):
    """Stands for attention: a layer, and a record of how many images came."""

    def __init__(self, dims):
        super().__init__()
        self.layer, self.batches = nn.Linear(dims, dims), []

    def forward(self, x):
        self.batches.append(len(x))
        return self.layer(x)


def make_block(**settings):
    torch.manual_seed(0)
    return AttentionBlock(8, Double(8), mlp_ratio=2.0, drop_path=RATE, **settings).double()


@pytest.mark.parametrize('layer_scale', [None, 0.5])
def test_images_keep_or_skip_a_branch(layer_scale):
    block = make_block(layer_scale=layer_scale).train()
    block.mlp.fc2.weight.data.zero_(), block.mlp.fc2.bias.data.zero_()  # leaves the attention's branch
    x = torch.randn(64, 2, 3, 8, dtype=torch.float64)
    added = block(x) - x
    branch = block.attn(block.norm1(x)) / (1 - RATE) * (layer_scale or 1)
    kept = added.flatten(1).any(1)
    assert 16 < kept.sum() < 48 and block.attn.batches[0] == kept.sum()
    torch.testing.assert_close(added[kept], branch[kept])
    block.eval()
    torch.testing.assert_close(block(x) - x, branch * (1 - RATE))


def test_parameters_have_gradients_where_every_image_skips(monkeypatch):
    """Distributed training waits for all of them."""
    block = make_block().train()
    monkeypatch.setattr(torch, 'rand', lambda *size: torch.zeros(*size))
    x = torch.randn(2, 2, 3, 8, dtype=torch.float64)
    out = block(x)
    assert torch.equal(out, x)
    out.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in block.parameters())


def test_recomputed_blocks_draw_the_same_images():
    block = make_block().train()
    x = torch.randn(16, 2, 3, 8, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    (expected,) = torch.autograd.grad((block(x)**2).sum(), x)
    torch.manual_seed(3)
    (found,) = torch.autograd.grad((torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)**2).sum(), x)
    torch.testing.assert_close(found, expected)
