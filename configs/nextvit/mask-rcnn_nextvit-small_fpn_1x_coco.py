# The paper trains Mask R-CNN for 12 epochs. All settings here are Swin's, drop path is that of Swin-T (0.1).
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='nextvit_small',
        pretrained=True,
        drop_path_rate=0.1,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[96, 256, 512, 1024]))
