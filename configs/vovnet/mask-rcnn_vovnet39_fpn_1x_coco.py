# The network of the paper's size, with effective squeeze and excitation (VoVNetV2): timm has no weights of the first
# VoVNet-39, which is `model_name='vovnet39a'`. Schedule and rate are those of MMDetection for ResNet.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='ese_vovnet39b',
        pretrained=True,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[256, 512, 768, 1024]))
