# RetinaNet for 12 epochs as in the paper. The backbone begins at stride 16: a level of stride 8 is made from its
# first. All settings are Swin's.
_base_ = [
    '../_base_/models/retinanet_fpn.py',
    '../_base_/datasets/coco_boxes.py',
    '../_base_/schedules/1x_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='shvit_s4',
        pretrained=True,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=[
        dict(type='FinerLevels', in_channels=224),
        # strides 8 to 64 from below, 128 on top
        dict(_base_.model.neck, in_channels=[224, 224, 336, 448], start_level=0),
    ])
