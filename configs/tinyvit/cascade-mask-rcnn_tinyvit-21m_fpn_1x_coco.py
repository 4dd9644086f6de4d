# The paper trains Cascade R-CNN for 12 epochs as Swin does. Settings, heads and drop path (0.1) are Swin's.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='tiny_vit_21m_224',
        pretrained=True,
        drop_path_rate=0.1,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[96, 192, 384, 576]))
