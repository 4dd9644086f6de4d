# Official: detection/configs/nat/cascade_mask_rcnn_nat_base_3x_coco.py
_base_ = './cascade-mask-rcnn_nat-mini_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.5, init_cfg=dict(checkpoint=_base_.weights + 'nat_base.pth')),
    neck=dict(in_channels=[128, 256, 512, 1024]))
