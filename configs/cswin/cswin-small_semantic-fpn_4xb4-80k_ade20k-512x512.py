_base_ = './cswin-tiny_semantic-fpn_4xb4-80k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=_base_.weights + 'cswin_small_224.pth')))
