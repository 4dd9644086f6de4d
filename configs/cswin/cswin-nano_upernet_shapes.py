# A small UPerNet with a small CSWin for the label maps of the built-in sample data, from scratch, on one CPU core. It
# shows the set-up and does not learn enough yet: 4000 steps (train_cfg.max_iters=4000, seed 0, 12 minutes) gave mIoU
# 16.7, where background everywhere gives 11.8; of the shapes it tells circles and rings apart, and no others.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/shapes_semantic_128.py',
    '../_base_/schedules/shapes_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        type='CSWin',
        arch=dict(embed_dims=32, depths=(1, 1, 2, 1), num_heads=(2, 4, 8, 16)),
        split_size=(1, 2, 4, 4),  # the maps have 32, 16, 8 and 4 tokens a side
        drop_path_rate=0.0),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=32,
        num_classes=7,
        loss_decode=dict(class_weight=[0.2, 1, 1, 1, 1, 1, 1])),  # four fifths of the pixels are background
    auxiliary_head=None)

train_dataloader = dict(batch_size=4)  # steps, not images, are what a model of this size needs
max_iters = 1500
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 3)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=1.0, by_epoch=False, begin=0, end=1.0),
]
