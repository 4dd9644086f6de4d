# Row "Maximum" of DiNAT's table 9: in every second block the largest that fits into maps of 800 pixels, the shorter
# side at test time; the paper's fits each image
_base_ = '../mask-rcnn_dinat-tiny_fpn_ms-3x_coco.py'

model = dict(backbone=dict(dilations=[[1, 28, 1], [1, 14, 1, 14], [1, 7] * 9, [1, 3, 1, 3, 1]]))
