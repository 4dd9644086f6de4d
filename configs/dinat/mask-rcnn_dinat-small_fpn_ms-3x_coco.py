# Official: detection/configs/dinat/mask_rcnn_dinat_small_3x_coco.py
_base_ = './mask-rcnn_dinat-mini_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.35,
        init_cfg=dict(checkpoint=_base_.weights + 'dinat_small_in1k_224.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
