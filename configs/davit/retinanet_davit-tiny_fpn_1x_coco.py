# The paper trains RetinaNet for 12 epochs. Settings are Swin's, drop path is that of Swin-T (0.1). Norms stand behind
# the outputs, as in the authors' code.
_base_ = [
    '../_base_/models/retinanet_fpn.py',
    '../_base_/datasets/coco_boxes.py',
    '../_base_/schedules/1x_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='davit_tiny',
        pretrained=True,
        out_norm=True,
        drop_path_rate=0.1),
    neck=dict(in_channels=[96, 192, 384, 768]))
