# Official: detection/configs/nat/mask_rcnn_nat_mini_3x_coco.py
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/3x_adamw.py',
    '../_base_/default_runtime.py',
]

weights = 'https://shi-labs.com/projects/nat/checkpoints/CLS/'
model = dict(
    backbone=dict(
        type='NAT',
        arch='mini',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'nat_mini.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
