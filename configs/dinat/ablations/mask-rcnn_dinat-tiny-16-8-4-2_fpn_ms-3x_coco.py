# Row "16, 8, 4, 2" of DiNAT's table 9, which is "NA-DiNA" of its table 10
_base_ = '../mask-rcnn_dinat-tiny_fpn_ms-3x_coco.py'

model = dict(backbone=dict(dilations=[[1, 16, 1], [1, 8, 1, 8], [1, 4] * 9, [1, 2, 1, 2, 1]]))
