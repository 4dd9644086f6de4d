# The paper trains Cascade Mask R-CNN for 36 epochs as Swin does. All settings here are Swin's, drop path is that of
# Swin-T (0.2).
_base_ = [
    '../_base_/models/cascade-mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/3x_adamw.py',
    '../_base_/default_runtime.py',
]

weights = ('https://mmassets.onedl.ai/mmclassification/v0/hornet/'
           'hornet-tiny_3rdparty_in1k_20220915-0e8eedff.pth')
model = dict(
    backbone=dict(
        type='MMPretrainBackbone',
        backbone=dict(type='HorNet', arch='tiny', drop_path_rate=0.2),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    neck=dict(in_channels=[64, 128, 256, 512]))
