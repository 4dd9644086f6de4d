# A small UPerNet for the built-in sample data: mmseg's model, narrowed. It shows how a segmentor is set up; the short
# schedule is not tuned, and half of it, from scratch, gave mIoU 5.8, no better than chance.
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/default_runtime_seg.py',
]

norm_cfg = dict(type='BN')  # mmseg's SyncBN works on GPUs only
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(depth=18, base_channels=16, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[16, 32, 64, 128],
        channels=32,
        num_classes=6,
        norm_cfg=norm_cfg,
        loss_decode=dict(avg_non_ignore=True)),  # four fifths of the pixels belong to no class
    auxiliary_head=None)

max_iters = 1000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=1.0, norm_type=2))
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=1.0)]
randomness = dict(seed=0)
