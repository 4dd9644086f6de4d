"""Small settings of every backbone, which the contract is tested with."""

from detrove.backbones import MMPretrainBackbone, TimmBackbone
from detrove.projects.cswin import CSWin
from detrove.projects.dinat import NAT, DiNAT
from detrove.projects.relation_detr import FocalNet
from detrove.projects.rt_detr import ResNetVD
from detrove.projects.swin import Swin

_DEPTHS = (1, 1, 2, 1)
_NAT = dict(embed_dims=8, depths=_DEPTHS, num_heads=(1, 2, 2, 4), mlp_ratio=2.0, layer_scale=None, patches=False)

#: name -> class, settings. A backbone that is registered here and not in this table fails the test.
BACKBONES = {
    'ResNetVD': (ResNetVD, dict(depth=18, base_channels=8, out_indices=(0, 1, 2, 3))),
    'FocalNet': (FocalNet, dict(embed_dims=8, depths=_DEPTHS, focal_levels=(2,) * 4, drop_path_rate=0.0)),
    'Swin': (Swin, dict(arch=dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4)), window_size=3,
                        drop_path_rate=0.0)),
    'CSWin': (CSWin, dict(arch=dict(embed_dims=8, depths=_DEPTHS, num_heads=(2, 2, 4, 4)), split_size=(1, 2, 3, 3))),
    'NAT': (NAT, dict(arch=_NAT, kernel_size=3, drop_path_rate=0.0)),
    'DiNAT': (DiNAT, dict(arch=dict(_NAT, layer_scale=0.5, patches=True), dilations=[[2], [1], [1, 2], [1]],
                          kernel_size=3, drop_path_rate=0.0)),
    # timm: convolutions; windows with tables for one size; windows that must divide maps; one stride, norms behind
    # outputs; three levels from stride 16 on
    'timm-ConvNeXt': (TimmBackbone, dict(model_name='convnext_atto', depths=_DEPTHS, dims=(8, 16, 24, 32),
                                         ls_init_value=0.5)),
    'timm-Swin': (TimmBackbone, dict(model_name='swin_tiny_patch4_window7_224', embed_dim=8, depths=_DEPTHS,
                                     num_heads=(1, 2, 2, 4), window_size=3, drop_path_rate=0.0)),
    'timm-MaxViT': (TimmBackbone, dict(model_name='maxvit_tiny_tf_224', img_size=(64, 64), embed_dim=(32,) * 4,
                                       depths=(1,) * 4, stem_width=8, out_indices=(1, 2, 3, 4))),
    'timm-ViT': (TimmBackbone, dict(model_name='vit_tiny_patch16_224', embed_dim=16, num_heads=2, depth=2,
                                    out_indices=(0, 1), out_norm=True)),
    'timm-SHViT': (TimmBackbone, dict(model_name='shvit_s1', embed_dim=(16, 24, 32), depth=(1, 1, 1),
                                      partial_dim=(4, 6, 8))),
    # mmpretrain: depth by the order of execution, norms behind outputs; norms inside; windows; its own depth
    'mmpretrain-HorNet': (MMPretrainBackbone, dict(backbone=dict(
        type='HorNet', arch=dict(base_dim=16, depths=list(_DEPTHS), orders=[2, 3, 4, 5],
                                 dw_cfg=[dict(type='DW', kernel_size=7)] * 2 + [dict(type='GF', h=14, w=8)] * 2)))),
    'mmpretrain-VAN': (MMPretrainBackbone, dict(backbone=dict(
        type='VAN', arch=dict(embed_dims=[8, 16, 24, 32], depths=list(_DEPTHS), ffn_ratios=[2] * 4)))),
    'mmpretrain-DaViT': (MMPretrainBackbone, dict(backbone=dict(
        type='DaViT', arch=dict(embed_dims=8, depths=list(_DEPTHS), num_heads=[1, 2, 2, 4]), window_size=3),
        pad_size_divisor=32)),
    'mmpretrain-ConvNeXt': (MMPretrainBackbone, dict(backbone=dict(
        type='ConvNeXt', arch=dict(depths=list(_DEPTHS), channels=[8, 16, 24, 32]), layer_scale_init_value=0.5))),
}
