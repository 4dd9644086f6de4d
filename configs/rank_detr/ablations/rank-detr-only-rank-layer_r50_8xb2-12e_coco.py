# The query rank layer alone
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(
    bbox_head=dict(_delete_=True, type='LayerwiseHead', num_classes=80),
    matcher=dict(switch_at=None),
    criterion=dict(loss_class=dict(type='QueryFocalLoss')))
