# Rank-DETR without the GIoU-aware classification loss
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(criterion=dict(loss_class=dict(type='QueryFocalLoss')))
