# A small UPerNet with a small CSWin for the label maps of the built-in sample data, from scratch, on two CPU cores.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/shapes_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        type='CSWin',
        arch=dict(embed_dims=32, depths=(1, 2, 4, 1), num_heads=(2, 4, 8, 16)),
        split_size=(1, 2, 5, 5),
        drop_path_rate=0.0),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=64,
        num_classes=6,
        loss_decode=dict(avg_non_ignore=True)),  # four fifths of the pixels belong to no class
    auxiliary_head=None)

max_iters = 3000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 2)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=1.0, by_epoch=False, begin=0, end=1.0),
]
