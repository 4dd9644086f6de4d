"""Swin beside those of other libraries, with their weights; its settings, and what it must do beside features."""

import pytest
import timm
import torch
from mmdet.models.backbones import SwinTransformer as MMDetSwin
from mmengine.logging import MMLogger
from mmpretrain.models.backbones import SwinTransformer as MMPretrainSwin
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from detrove.projects.swin import Swin
from detrove.projects.swin.window_attention import WindowAttention, make_windows

ARCH = dict(embed_dims=12, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 3))
LISTS = dict(ARCH, depths=list(ARCH['depths']), num_heads=list(ARCH['num_heads']))


def randomised(model):
    """Weights that let every part have its say, in double precision."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            mean, std = (0.0, 0.3) if parameter.dim() > 1 else (0.6, 0.2)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + mean)
    model.double().eval()
    return model


def images(height, width):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) == 4
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('theirs', [
    lambda: MMDetSwin(**LISTS, drop_path_rate=0.0),
    lambda: MMPretrainSwin(LISTS, out_indices=(0, 1, 2, 3), pad_small_map=True, drop_path_rate=0.0),
], ids=['mmdet', 'mmpretrain'])
def test_openmmlab(theirs):
    theirs = randomised(theirs())
    ours = Swin(arch=ARCH, drop_path_rate=0.0).double().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    inputs = [images(203, 150).requires_grad_() for _ in range(2)]
    maps = [model(x) for model, x in zip((ours, theirs), inputs, strict=True)]
    assert_same(*maps)
    for one in maps:
        sum((feature**3).mean() for feature in one).backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-8, atol=1e-10)
    ours, theirs = ours.stages[1].blocks[1].attn, theirs.stages[1].blocks[1].attn.w_msa
    torch.testing.assert_close(ours.qkv.weight.grad, theirs.qkv.weight.grad)
    torch.testing.assert_close(ours.relative_position_bias_table.grad, theirs.relative_position_bias_table.grad)


def test_timm():
    settings = dict(embed_dim=12, depths=ARCH['depths'], num_heads=ARCH['num_heads'], num_classes=0)
    theirs = randomised(timm.models.swin_transformer.SwinTransformer(**settings))
    ours = Swin(arch=ARCH, shift_small_maps=False, out_norm=False).double().eval()
    loaded = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert loaded.unexpected_keys == ['norm.weight', 'norm.bias'] and not loaded.missing_keys
    with torch.no_grad():
        assert_same(ours(images(224, 224)), theirs.forward_intermediates(images(224, 224), intermediates_only=True))


def test_torchvision():
    theirs = randomised(TorchvisionSwin(
        [4, 4], 12, list(ARCH['depths']), list(ARCH['num_heads']), [7, 7], stochastic_depth_prob=0.0))
    ours = Swin(arch=ARCH, shift_small_maps=False, out_norm=False).double().eval()
    loaded = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not loaded.missing_keys
    assert set(loaded.unexpected_keys) == {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}
    maps, x = [], images(204, 212)
    with torch.no_grad():
        for i, layer in enumerate(theirs.features):
            x = layer(x)
            maps += [x.permute(0, 3, 1, 2)] if i % 2 else []
        assert_same(ours(images(204, 212)), maps)


def test_own_weights_pass_untouched():
    weights = {f'backbone.{name}': value for name, value in Swin(arch=ARCH).state_dict().items()}
    model = nn.ModuleDict(dict(backbone=Swin(arch=ARCH)))
    model.load_state_dict(weights, strict=True)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_below_a_prefix():
    """As part of a detector's checkpoint, beside entries that are none of its business."""
    theirs = randomised(MMDetSwin(**LISTS)).state_dict()
    model = nn.ModuleDict(dict(backbone=Swin(arch=ARCH), layers=nn.Linear(2, 2)))
    others = {'layers.weight': torch.ones(2, 2), 'layers.bias': torch.ones(2)}
    model.load_state_dict({**{f'backbone.{name}': value for name, value in theirs.items()}, **others}, strict=True)
    assert torch.equal(model['backbone'].stages[3].blocks[1].mlp.fc2.weight.double(),
                       theirs['stages.3.blocks.1.ffn.layers.1.weight'].float().double())
    assert (model['layers'].weight == 1).all()


def test_pretrained_file_of_another_window(tmp_path):
    """An official file: weights below `model`, windows of 12, the norm and the head of 22k classes left over."""
    official = {
        name.replace('stem.', 'patch_embed.').replace('stages.', 'layers.'): value
        for name, value in Swin(arch=ARCH, window_size=12, out_norm=False).state_dict().items()
    }
    official.update({'norm.weight': torch.ones(96), 'norm.bias': torch.ones(96), 'head.weight': torch.ones(21841, 96)})
    torch.save({'model': official}, tmp_path / 'swin.pth')
    model = Swin(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'swin.pth')))
    model.init_weights()
    assert torch.equal(model.stages[1].blocks[0].mlp.fc1.weight, official['layers.1.blocks.0.mlp.fc1.weight'])
    table, original = (x.stages[0].blocks[0].attn.relative_position_bias_table if isinstance(x, Swin)
                       else x['layers.0.blocks.0.attn.relative_position_bias_table'] for x in (model, official))
    assert len(table) == 13**2
    torch.testing.assert_close(table[len(table) // 2], original[len(original) // 2], atol=1e-6, rtol=0)


@pytest.mark.parametrize('shift', [0, 3])
@pytest.mark.parametrize('size_hw', [(14, 21), (15, 8), (7, 7), (3, 16), (1, 1)])
def test_windows_are_padded_rolled_and_cut(size_hw, shift):
    """Against the steps that the paper describes, one after another."""
    batch, size = 2, 7
    height, width = size_hw
    windows = make_windows(batch, height, width, size, shift, torch.device('cpu'))
    tokens = torch.arange(1, batch * height * width + 1).view(batch, height, width)
    padded = nn.functional.pad(tokens, (0, -width % size, 0, -height % size)).roll((-shift, -shift), (1, 2))
    expected = padded.unflatten(2, (-1, size)).unflatten(1, (-1, size)).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
    found = tokens.flatten()[windows.to_windows]
    found[windows.padding] = 0
    found = found.view(-1, batch, size**2).transpose(0, 1)
    assert sorted(map(tuple, found[1].tolist())) == sorted(map(tuple, expected[1].tolist()))
    assert torch.equal(found.transpose(0, 1).flatten()[windows.to_maps], tokens.flatten())

    rows, columns = (torch.arange(padded.shape[axis]) for axis in (1, 2))
    side = (2 * (rows < shift)[:, None] + (columns < shift)).roll((-shift, -shift), (0, 1))
    side = side.unflatten(1, (-1, size)).unflatten(0, (-1, size)).transpose(1, 2).flatten(2).flatten(0, 1)
    side_of = {tuple(window): side[i] for i, window in enumerate(expected[1].tolist())}
    num_whole = found.shape[1] - len(windows.mask)
    for i, window in enumerate(found[1].tolist()):
        apart = side_of[tuple(window)][:, None] != side_of[tuple(window)]
        if i < num_whole:
            assert not apart.any()
        else:
            assert torch.equal(windows.mask[i - num_whole, 0], -100.0 * apart)


def test_small_maps():
    """A shift changes what a map of one window gives, unless it is left out."""
    x = torch.randn(1, 7, 9, 12)
    outs = []
    for shifted, shift_small_maps in ((False, True), (True, False), (True, True)):
        torch.manual_seed(0)
        attention = WindowAttention(12, num_heads=2, window_size=7, shifted=shifted, shift_small_maps=shift_small_maps)
        outs.append(attention(x).detach())
    assert torch.equal(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2], atol=1e-4)


def test_windows_made_in_inference_mode_serve_training():
    model = Swin(arch=ARCH, drop_path_rate=0.0)
    with torch.inference_mode():
        maps = model(torch.rand(1, 3, 61, 67))
    trained = model(torch.rand(1, 3, 61, 67))
    sum(feature.sum() for feature in trained).backward()
    assert [m.shape for m in maps] == [m.shape for m in trained]


@pytest.mark.parametrize('enabled', [True, False])
def test_fused_attention_and_training_agree(enabled):
    model = randomised(Swin(arch=ARCH))
    x = images(90, 75)
    with torch.no_grad():
        fused = model(x)
    model.requires_grad_(enabled)  # frozen as well, with a gradient through the images alone
    assert_same(model(x.requires_grad_()), fused)


def test_double_backward():
    attention = WindowAttention(4, num_heads=2, window_size=2, shifted=True, shift_small_maps=True).double()
    x = torch.rand(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention, (x,))
    assert torch.autograd.gradgradcheck(attention, (x,))


def test_no_break_in_a_compiled_graph():
    model = Swin(arch=dict(embed_dims=12, depths=(2,), num_heads=(2,)), out_indices=(0,), drop_path_rate=0.0)
    explained = torch._dynamo.explain(model)(torch.rand(1, 3, 61, 67))
    assert explained.graph_break_count == 0


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(arch='giant'), 'giant'),
    (dict(arch=dict(embed_dims=12)), 'depths'),
    (dict(window_size=1), 'window_size=1'),
])
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Swin(**settings)


@pytest.mark.parametrize(('arch', 'parameters'), [
    ('tiny', 28_288_354), ('small', 49_606_258), ('base', 87_768_224), ('large', 196_532_476)])
def test_sizes(arch, parameters):
    """Parameters of the official classifiers, whose last norm and 1,000 classes are not here."""
    with torch.device('meta'):
        model = Swin(arch=arch, out_norm=False)
    dims = model.out_channels[-1]
    assert sum(p.numel() for p in model.parameters()) == parameters - 2 * dims - 1000 * (dims + 1)


def test_registered_for_every_library():
    from mmdet.registry import MODELS as DET
    from mmpretrain.registry import MODELS as PRETRAIN
    from mmseg.registry import MODELS as SEG
    MMLogger.get_current_instance()
    for registry in (DET, SEG, PRETRAIN):
        assert registry.get('Swin') is Swin
