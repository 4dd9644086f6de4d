# Official: detection/configs/dinat/mask_rcnn_dinat_mini_3x_coco.py
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/3x_adamw.py',
    '../_base_/default_runtime.py',
]

weights = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet1k/'
model = dict(
    backbone=dict(
        type='DiNAT',
        arch='mini',
        dilations='coco',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'dinat_mini_in1k_224.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
