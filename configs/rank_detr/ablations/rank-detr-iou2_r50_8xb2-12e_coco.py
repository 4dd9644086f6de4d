# Rank-DETR with the square of the IoU in the matching cost
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(matcher=dict(iou_power=2.0))
