# Rank-DETR without the rank-adaptive classification head
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(bbox_head=dict(_delete_=True, type='LayerwiseHead', num_classes=80))
