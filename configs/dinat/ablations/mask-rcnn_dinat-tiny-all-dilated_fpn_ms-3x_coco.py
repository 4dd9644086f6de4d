# Row "DiNA-DiNA" of DiNAT's table 10: 16, 8, 4, 2 in all blocks, none of them dense
_base_ = '../mask-rcnn_dinat-tiny_fpn_ms-3x_coco.py'

model = dict(backbone=dict(dilations=[[16] * 3, [8] * 4, [4] * 18, [2] * 5]))
