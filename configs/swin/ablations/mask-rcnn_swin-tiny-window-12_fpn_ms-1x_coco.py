# Windows of 12 x 12; the pretrained tables of biases, which are for 7 x 7, are resized while they load
_base_ = '../mask-rcnn_swin-tiny_fpn_ms-1x_coco.py'

model = dict(backbone=dict(window_size=12))
