# Scores learn the class alone and not the IoU: the paper's vanilla query selection, and its encoder variant E
_base_ = './rtdetr_r50vd_8xb2-12e_coco.py'

model = dict(criterion=dict(loss_class=dict(_delete_=True, type='QueryFocalLoss', alpha=0.25, gamma=2.0)))
