# A small UPerNet with a small CSWin for the label maps of the built-in sample data, from scratch, in two processes of
# one CPU core each (--processes 2). For the first thousand steps it tells shapes from background, and only then one
# shape from another.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/shapes_semantic_128.py',
    '../_base_/schedules/shapes_adamw.py',
    '../_base_/default_runtime_seg.py',
]

norm_cfg = dict(type='GN', num_groups=8)  # batch norm would learn from four pooled cells
loss = dict(class_weight=[0.2, 1, 1, 1, 1, 1, 1])  # four fifths of the pixels are background
num_classes = 7
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        type='CSWin',
        arch=dict(embed_dims=32, depths=(1, 1, 3, 1), num_heads=(2, 4, 8, 16)),
        split_size=(1, 2, 4, 4),  # the maps have 32, 16, 8 and 4 tokens a side
        drop_path_rate=0.0,
        # the paper's deviation of 0.02 is for layers many times as wide
        init_cfg=dict(type='Xavier', layer='Linear')),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=32,
        num_classes=num_classes,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        loss_decode=loss),
    auxiliary_head=dict(
        in_channels=128,
        channels=64,
        num_classes=num_classes,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        loss_decode=loss))

train_dataloader = dict(batch_size=4)
max_iters = 3500
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 5)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=1.0, by_epoch=False, begin=0, end=1.0),
]
