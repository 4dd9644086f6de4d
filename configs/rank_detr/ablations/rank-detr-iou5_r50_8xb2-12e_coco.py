# Rank-DETR with the IoU to the power of 5 in the matching cost
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(matcher=dict(iou_power=5.0))
