"""TimmBackbone: which maps it gives, what it refuses, and how weights come in."""

import builtins
from functools import reduce

import pytest
import timm
import torch
from safetensors.torch import save_file

import detrove
from detrove.backbones import TimmBackbone

TINY = dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))


def on_meta(*args, **settings):
    with torch.device('meta'), torch.no_grad():
        return TimmBackbone(*args, **settings).eval()


def shapes(backbone, height, width):
    with torch.no_grad():
        return [tuple(x.shape[1:]) for x in backbone(torch.zeros(1, 3, height, width, device='meta'))]


def test_offered_by_detrove():
    assert detrove.TimmBackbone is TimmBackbone


def test_same_maps_as_timm():
    """Also with what comes behind the last map removed, and no more."""
    torch.manual_seed(0)
    backbone = TimmBackbone('convnext_atto', **TINY, strides=(8, 16)).eval()
    official = timm.create_model('convnext_atto', features_only=True, **TINY).eval()
    names = {name.replace('.', '_', 1) if name.startswith(('stem.', 'stages.')) else name: x
             for name, x in backbone.model.state_dict().items()}
    missing = official.load_state_dict(names, strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith('stages_3') for name in missing.missing_keys)
    images = torch.rand(1, 3, 64, 96)
    for x, y in zip(backbone(images), official(images)[1:3], strict=True):
        torch.testing.assert_close(x, y)


def test_choice_of_levels():
    assert on_meta('ese_vovnet39b').out_strides == (4, 8, 16, 32)  # timm has one of stride 2 first
    backbone = on_meta('ese_vovnet39b', strides=(8, 32))
    assert (backbone.out_indices, backbone.out_channels) == ((2, 4), (512, 1024))
    assert on_meta('ese_vovnet39b', out_indices=(-2, -1)).out_strides == (16, 32)
    assert on_meta('vit_tiny_patch16_224', strides=(16,)).out_indices == (11,)
    with pytest.raises(ValueError, match=r'no feature maps of strides \[4, 8\], only of \[16, 32, 64\]'):
        on_meta('shvit_s1', strides=(4, 8, 16))
    with pytest.raises(ValueError, match='not both'):
        on_meta('shvit_s1', strides=(16,), out_indices=(0,))
    with pytest.raises(ValueError, match=r'out_indices=\(1, 0\) must be ascending numbers from 0 to 2'):
        on_meta('shvit_s1', out_indices=(1, 0))


def test_plain_networks_are_refused_as_pyramids():
    with pytest.raises(ValueError, match=r'no feature maps of several strides.*strides=\(16,\)'):
        on_meta('vit_tiny_patch16_224')


@pytest.mark.parametrize(('name', 'settings'), [
    ('swin_tiny_patch4_window7_224', {}), ('vit_tiny_patch16_224', dict(strides=(16,))), ('maxvit_nano_rw_256', {}),
    ('tiny_vit_5m_224', {}), ('davit_tiny', {}),
])
def test_any_size_of_images(name, settings):
    backbone = on_meta(name, **settings)
    for height, width in ((97, 131), (300, 240)):
        assert [hw[1:] for hw in shapes(backbone, height, width)] == [
            (-(-height // stride), -(-width // stride)) for stride in backbone.out_strides]


def test_networks_of_one_size():
    with pytest.raises(ValueError, match='timm gcvit_xxtiny takes images of one size only'):
        on_meta('gcvit_xxtiny')
    backbone = on_meta('gcvit_xxtiny', img_size=(224, 288))
    assert shapes(backbone, 200, 250) == [(64, 50, 63), (128, 25, 32), (256, 13, 16), (512, 7, 8)]
    with pytest.raises(ValueError, match='at most 224 x 288, got 300 x 200; set a larger img_size'):
        shapes(backbone, 300, 200)


def test_sizes_that_fail():
    with pytest.raises(ValueError, match=r'timm dla34 fails on images of 97 x 131.*\n.*pad_size_divisor=32'):
        shapes(on_meta('dla34'), 97, 131)
    assert shapes(on_meta('dla34', pad_size_divisor=32), 97, 131)[-1] == (512, 4, 5)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"has no model 'convnext_tini'; similar are \['convnext_tiny'"):
        TimmBackbone('convnext_tini')
    with pytest.raises(ValueError, match=r"\['features_only'\] make no sense"):
        TimmBackbone('convnext_atto', features_only=True)
    with pytest.raises(ValueError, match='either pretrained=True or init_cfg'):
        TimmBackbone('convnext_atto', pretrained=True, init_cfg=dict(type='Pretrained', checkpoint='x.pth'))
    with pytest.raises(ValueError, match='with_cp=True is not possible'):
        on_meta('nasnetalarge', with_cp=True)


def test_timm_is_not_needed_before(monkeypatch):
    def refuse(name, *args, **kwargs):
        if name == 'timm':
            raise ImportError('No module named timm')
        return real(name, *args, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ImportError, match='pip install timm'):
        TimmBackbone('convnext_atto')


def test_pretrained_weights_come_when_weights_are_initialised(monkeypatch):
    created = []
    real = timm.create_model

    def create(name, pretrained=False, **settings):
        created.append(pretrained)
        model = real(name, **settings)
        if pretrained:
            model.stem[0].weight.data.fill_(0.5)
        return model

    monkeypatch.setattr(timm, 'create_model', create)
    backbone = TimmBackbone('convnext_atto', pretrained=True, strides=(4, 8), **TINY)
    assert created == [False]
    backbone.init_weights()
    assert created[1] is True
    assert (backbone.model.stem[0].weight == 0.5).all()


def test_weights_in_the_layout_of_the_authors(tmp_path):
    """ConvNeXt's own file has other names; timm knows them."""
    backbone = TimmBackbone('convnext_atto', **TINY)
    renamed = (('stem.', 'downsample_layers.0.'), ('conv_dw', 'dwconv'), ('.mlp.fc', '.pwconv'), ('.blocks.', '.'))
    authors = {}
    for name, value in backbone.model.state_dict().items():
        if 'downsample' not in name:
            authors[reduce(lambda x, pair: x.replace(*pair), renamed, name)] = torch.full_like(value, 0.125)
    file = tmp_path / 'convnext.pth'
    torch.save({'model': authors}, file)
    backbone = TimmBackbone('convnext_atto', **TINY, init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    backbone.init_weights()
    assert (backbone.model.stages[2].blocks[0].conv_dw.weight == 0.125).all()
    assert (backbone.model.stem[0].weight == 0.125).all()


def test_file_of_safetensors(tmp_path):
    whole = timm.create_model('convnext_atto', **TINY).state_dict()
    weights = {name: torch.full_like(x, 0.125) for name, x in whole.items()}
    file = tmp_path / 'model.safetensors'
    save_file(weights, file)
    backbone = TimmBackbone('convnext_atto', strides=(4, 8), **TINY,
                            init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    backbone.init_weights()
    assert all((x == 0.125).all() for x in backbone.parameters())


def test_norm_eval():
    backbone = TimmBackbone('resnet18', norm_eval=True).train()
    before = {name: x.clone() for name, x in backbone.named_buffers()}
    sum(x.sum() for x in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert all(torch.equal(x, before[name]) for name, x in backbone.named_buffers())
    assert all(x.grad is not None for x in backbone.parameters())


def test_frozen_batch_norms_may_be_replaced():
    """Training converts them to synchronised ones after the model was built."""
    backbone = torch.nn.SyncBatchNorm.convert_sync_batchnorm(TimmBackbone('resnet18', frozen_stages=1)).train()
    training = {name: x.training for name, x in backbone.model.named_modules() if isinstance(x, torch.nn.SyncBatchNorm)}
    assert training['bn1'] is training['layer1.1.bn2'] is False
    assert training['layer2.0.bn1'] is training['layer4.1.bn2'] is True


def test_depth_where_timm_names_no_groups():
    """MetaFormer has none: blocks in the order in which they are called."""
    backbone = on_meta('caformer_s18')
    assert not hasattr(backbone.model, 'group_matcher')
    depth = {name: backbone.get_layer_depth(f'backbone.{name}') for name, _ in backbone.named_parameters()}
    assert depth['model.stem.conv.weight'] == (0, 20)
    assert depth['model.stages.0.blocks.2.mlp.fc1.weight'] == depth['model.stages.1.downsample.conv.weight'] == (3, 20)
    assert depth['model.stages.3.blocks.2.mlp.fc1.weight'] == (18, 20)
