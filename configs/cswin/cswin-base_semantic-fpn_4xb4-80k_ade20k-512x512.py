_base_ = './cswin-tiny_semantic-fpn_4xb4-80k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=_base_.weights + 'cswin_base_224.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
