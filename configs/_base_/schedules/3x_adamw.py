# As 1x_adamw.py, 36 epochs.
_base_ = './1x_adamw.py'

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='MultiStepLR', milestones=[27 / 36, 33 / 36], gamma=0.1),
]
