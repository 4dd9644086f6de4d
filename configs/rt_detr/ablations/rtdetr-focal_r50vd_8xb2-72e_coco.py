# RT-DETR whose scores learn the class alone and not the IoU: the paper's vanilla query selection
_base_ = '../rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(criterion=dict(loss_class=dict(_delete_=True, type='QueryFocalLoss', alpha=0.25, gamma=2.0)))
