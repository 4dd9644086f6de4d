# Faster R-CNN as in the paper, but with a feature pyramid, and with schedule and rate of MMDetection for ResNet: the
# paper has one level of stride 16 and images of 1200 pixels, and its schedule is not published.
_base_ = [
    '../_base_/models/faster-rcnn_fpn.py',
    '../_base_/datasets/coco_boxes.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),  # as in the backbone's pretraining
    backbone=dict(
        type='TimmBackbone',
        model_name='nasnetalarge',
        pretrained=True,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[168, 1008, 2016, 4032]))
