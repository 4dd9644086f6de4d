# Cascade Mask R-CNN as in the paper, with Swin's settings, drop path that of Swin-T (0.2): the paper trains on images
# of 896 x 896 in steps of 256 for 200 epochs. Maps must consist of whole windows: TimmBackbone pads images to
# multiples of 224 pixels.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/3x_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='maxvit_tiny_tf_224',
        pretrained=True,
        strides=(4, 8, 16, 32),
        drop_path_rate=0.2,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[64, 128, 256, 512]))
