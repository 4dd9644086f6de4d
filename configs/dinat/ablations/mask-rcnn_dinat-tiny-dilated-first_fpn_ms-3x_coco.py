# Row "DiNA-NA" of DiNAT's table 10: 16, 8, 4, 2 with the dilated block of each pair before the dense one
_base_ = '../mask-rcnn_dinat-tiny_fpn_ms-3x_coco.py'

model = dict(backbone=dict(dilations=[[16, 1, 16], [8, 1, 8, 1], [4, 1] * 9, [2, 1, 2, 1, 2]]))
