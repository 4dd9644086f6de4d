# Official: mask_rcnn_swin_tiny_patch4_window7_mstrain_480-800_adamw_1x_coco.py
_base_ = './mask-rcnn_swin-tiny_fpn_ms-3x_coco.py'

model = dict(backbone=dict(drop_path_rate=0.1))

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='MultiStepLR', milestones=[8 / 12, 11 / 12], gamma=0.1),
]
