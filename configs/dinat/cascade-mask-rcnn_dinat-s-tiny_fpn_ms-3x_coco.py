# Official: detection/configs/dinat_s/cascade_mask_rcnn_dinat_s_tiny_3x_coco.py
_base_ = [
    '../_base_/models/cascade-mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/3x_adamw.py',
    '../_base_/default_runtime.py',
]

weights = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet1k/'
model = dict(
    backbone=dict(
        type='DiNAT',
        arch='s_tiny',
        dilations='coco',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'dinat_s_tiny_in1k_224.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
