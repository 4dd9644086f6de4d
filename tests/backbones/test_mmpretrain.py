"""MMPretrainBackbone: what it measures and refuses, and a file of mmpretrain; and the neck for coarse backbones."""

import pytest
import torch
from mmengine.registry import init_default_scope

from detrove.backbones import FinerLevels, MMPretrainBackbone

VAN = dict(type='VAN', arch=dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1], ffn_ratios=[2] * 4))


def test_what_is_measured():
    backbone = MMPretrainBackbone(backbone=VAN, out_indices=(1, 3))
    assert (backbone.out_channels, backbone.out_strides) == ((16, 32), (8, 32))
    plain = MMPretrainBackbone(backbone=dict(type='VisionTransformer', arch='deit-tiny', img_size=96), out_indices=(3,))
    assert (plain.out_channels, plain.out_strides) == ((192,), (16,))
    with torch.device('meta'):
        assert next(MMPretrainBackbone(backbone=VAN).parameters()).is_meta


def test_what_no_output_needs_is_not_trained():
    """A distributed model would wait for its gradients."""
    backbone = MMPretrainBackbone(backbone=dict(type='VisionTransformer', arch='deit-tiny'), out_indices=(3,))
    trained = {name for name, x in backbone.named_parameters() if x.requires_grad}
    sum(x.sum() for x in backbone(torch.rand(1, 3, 64, 64))).backward()
    assert trained == {name for name, x in backbone.named_parameters() if x.grad is not None}
    assert not any(name.startswith('model.layers.4') for name in trained)


def test_order_of_layers():
    """VAN names none: a block counts, what embeds and norms beside it belongs to the block before."""
    backbone = MMPretrainBackbone(backbone=VAN)
    depth = {name.removeprefix('model.'): backbone.get_layer_depth(f'backbone.{name}')[0]
             for name, _ in backbone.named_parameters()}
    assert depth['patch_embed1.projection.weight'] == 0
    assert depth['blocks1.0.norm1.weight'] == depth['norm1.weight'] == depth['patch_embed2.projection.weight'] == 1
    assert depth['blocks3.1.layer_scale_1'] == 4
    assert depth['norm4.weight'] == 5


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_inside_other_scopes(scope):
    init_default_scope(scope)
    assert MMPretrainBackbone(backbone=VAN).out_strides == (4, 8, 16, 32)


@pytest.mark.parametrize(('backbone', 'message'), [
    (dict(type='VanillaNet'), "mmpretrain has no 'VanillaNet'"),
    (dict(VAN, frozen_stages=1), r"set \['frozen_stages'\] beside `backbone`"),
    (dict(type='EfficientFormer', arch='l1'), r'EfficientFormer does not take 64 x 64 images.*\n.*img_size'),
    (dict(type='TNT', img_size=224), r'TNT gives \[\(1, 640\)\].*not maps \(B, C, H, W\)'),
])
def test_what_is_refused(backbone, message):
    with pytest.raises(ValueError, match=message):
        MMPretrainBackbone(backbone=backbone)


def test_file_of_a_classifier(tmp_path, capsys):
    backbone = MMPretrainBackbone(backbone=VAN)
    weights = {f'backbone.{name}': torch.full_like(x, 0.5) for name, x in backbone.model.state_dict().items()}
    file = tmp_path / 'van.pth'
    torch.save({'state_dict': {**weights, 'head.fc.weight': torch.zeros(1000, 32)}}, file)
    backbone = MMPretrainBackbone(
        backbone=VAN, init_cfg=dict(type='Pretrained', checkpoint=str(file), prefix='backbone.'))
    backbone.init_weights()
    assert all((x == 0.5).all() for x in backbone.parameters())
    assert 'missing' not in capsys.readouterr().out


def test_finer_levels():
    maps = torch.rand(1, 8, 3, 5), torch.rand(1, 16, 2, 3)
    finer, *rest = FinerLevels(in_channels=8)(maps)
    assert finer.shape == (1, 8, 6, 10)
    assert all(x is y for x, y in zip(rest, maps, strict=True))
