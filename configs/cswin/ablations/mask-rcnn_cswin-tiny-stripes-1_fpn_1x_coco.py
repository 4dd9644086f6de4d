# "CSWin (fix sw=1)" of the paper's table 8; the last stage attends to its whole map, whatever its number
_base_ = '../mask-rcnn_cswin-tiny_fpn_1x_coco.py'

model = dict(backbone=dict(split_size=(1, 1, 1, 7)))
