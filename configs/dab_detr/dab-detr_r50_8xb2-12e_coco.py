_base_ = './dab-detr_r50_8xb2-50e_coco.py'

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(type='MultiStepLR', milestones=[11 / 12], gamma=0.1)]
