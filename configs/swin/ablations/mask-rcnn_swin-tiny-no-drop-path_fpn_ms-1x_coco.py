# Without stochastic depth
_base_ = '../mask-rcnn_swin-tiny_fpn_ms-1x_coco.py'

model = dict(backbone=dict(drop_path_rate=0.0))
