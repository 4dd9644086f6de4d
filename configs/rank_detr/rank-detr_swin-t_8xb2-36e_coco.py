# Official: rank_detr_swin_tiny_two_stage_36ep.py
_base_ = './rank-detr_swin-t_8xb2-12e_coco.py'

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(type='MultiStepLR', milestones=[30 / 36], gamma=0.1)]
