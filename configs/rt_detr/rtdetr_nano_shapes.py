# A small RT-DETR for the built-in sample data: learns from scratch on two CPU cores in less than ten minutes, in two
# processes (--processes 2). Rates and averages below are meant for their 8 images a step.
_base_ = ['../_base_/datasets/shapes_detection.py', '../_base_/default_runtime.py']

model = dict(
    type='OneDETR',
    embed_dims=96,
    num_levels=3,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(type='ResNetVD', depth=18, base_channels=16, out_indices=(1, 2, 3)),
    neck=[
        dict(type='HybridEncoder', in_channels=[32, 64, 128], embed_dims=96, feedforward_dims=192, expansion=0.5,
             depth_mult=1 / 3),
        dict(type='ChannelMapper', in_channels=[96, 96, 96], out_channels=96, kernel_size=1,
             norm_cfg=dict(type='BN'), act_cfg=None, num_outs=3),
    ],
    query_selection=dict(type='TopKQuerySelection', num_queries=100),
    decoder=dict(
        type='DETRDecoder',
        num_layers=2,
        position=dict(type='BoxPosition'),
        layer=dict(type='DeformableDecoderLayer', feedforward_dims=192, num_heads=4, num_points=2)),
    bbox_head=dict(type='LayerwiseHead', num_classes=6),
    denoising=dict(type='ContrastiveDenoising', num_queries=25),
    matcher=dict(type='HungarianMatcher'),
    criterion=dict(
        type='DETRCriterion',
        loss_class=dict(type='QueryVarifocalLoss'),
        weight_class=4.0),  # 1 on COCO with a pretrained backbone; from scratch classes lag behind boxes
    test_cfg=dict(max_per_img=100))

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=8)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=22, val_interval=11)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Convolutions start from scratch too, and take three times the rate of the transformer layers.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.1e-3, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[
        dict(match=r'^(backbone|neck)\..*(norm|bn|bias)', lr_mult=3.0, decay_mult=0.0),
        dict(match=r'^(backbone|neck)\.', lr_mult=3.0),
        dict(match=r'norm|bn|bias', decay_mult=0.0),
    ]))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=75),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=1.0, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ForeachExpMomentumEMA', momentum=4e-3, gamma=100, update_buffers=True, priority=49)
]
default_hooks = dict(checkpoint=dict(interval=11))
channels_last = True
randomness = dict(seed=0)
