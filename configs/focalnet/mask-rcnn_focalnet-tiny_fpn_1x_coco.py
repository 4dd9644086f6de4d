# The paper trains Mask R-CNN as Swin does, whose settings these are, drop path that of Swin-T (0.1). Norms stand
# behind the outputs, as in the authors' detection code.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/1x_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='focalnet_tiny_srf',
        pretrained=True,
        out_norm=True,
        drop_path_rate=0.1),
    neck=dict(in_channels=[96, 192, 384, 768]))
