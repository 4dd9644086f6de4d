_base_ = '../relation-detr_r50_8xb2-12e_coco.py'

model = dict(criterion=dict(loss_class=dict(_delete_=True, type='QueryFocalLoss', alpha=0.25, gamma=2.0)))
