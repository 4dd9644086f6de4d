# The short schedule, which the authors have no results for.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x_adamw.py',
    '../_base_/default_runtime.py',
]

weights = 'https://shi-labs.com/projects/nat/checkpoints/CLS/'
model = dict(
    backbone=dict(
        type='NAT',
        arch='tiny',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'nat_tiny.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
