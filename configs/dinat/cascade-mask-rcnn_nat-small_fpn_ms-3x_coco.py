# Official: detection/configs/nat/cascade_mask_rcnn_nat_small_3x_coco.py
_base_ = './cascade-mask-rcnn_nat-mini_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.3, init_cfg=dict(checkpoint=_base_.weights + 'nat_small.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
