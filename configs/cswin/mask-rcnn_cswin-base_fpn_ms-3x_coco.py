_base_ = './mask-rcnn_cswin-tiny_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=_base_.weights + 'cswin_base_224.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
