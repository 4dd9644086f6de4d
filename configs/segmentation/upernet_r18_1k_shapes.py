# A small UPerNet for the label maps of the built-in sample data: mmseg's model, narrowed, from scratch. It shows how a
# segmentor is set up; 1000 steps are too few for a good mIoU (background everywhere gives 11.8).
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    '../_base_/datasets/shapes_semantic_128.py',
    '../_base_/schedules/shapes_adamw.py',
    '../_base_/default_runtime_seg.py',
]

norm_cfg = dict(type='BN')  # mmseg's SyncBN works on GPUs only
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(depth=18, stem_channels=16, base_channels=16, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[16, 32, 64, 128],
        channels=32,
        num_classes=7,
        norm_cfg=norm_cfg,
        # four fifths of the pixels are background, which without weights is all that the model says for long
        loss_decode=dict(class_weight=[0.2, 1, 1, 1, 1, 1, 1])),
    auxiliary_head=None)

train_dataloader = dict(batch_size=4)  # steps, not images, are what a model of this size needs
max_iters = 1000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 2)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=1.0, by_epoch=False, begin=0, end=1.0),
]
