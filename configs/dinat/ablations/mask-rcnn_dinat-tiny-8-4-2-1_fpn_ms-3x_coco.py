# Row "8, 4, 2, 1" of DiNAT's table 9: the dilations of the classifier that training starts from
_base_ = '../mask-rcnn_dinat-tiny_fpn_ms-3x_coco.py'

model = dict(backbone=dict(dilations='224'))
