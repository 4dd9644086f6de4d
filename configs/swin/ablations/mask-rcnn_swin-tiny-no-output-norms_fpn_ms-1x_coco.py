# Without the norms, new in detection, between the stages and the FPN
_base_ = '../mask-rcnn_swin-tiny_fpn_ms-1x_coco.py'

model = dict(backbone=dict(out_norm=False))
