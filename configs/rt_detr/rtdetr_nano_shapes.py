# A small RT-DETR for the built-in sample data: learns on two CPU cores within minutes.
_base_ = ['../_base_/datasets/shapes_detection.py', '../_base_/default_runtime.py']

model = dict(
    type='OneDETR',
    embed_dims=128,
    num_levels=3,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(type='ResNetVD', depth=18, base_channels=16, out_indices=(1, 2, 3)),
    neck=[
        dict(type='HybridEncoder', in_channels=[32, 64, 128], embed_dims=128, feedforward_dims=256, expansion=0.5,
             depth_mult=1 / 3),
        dict(type='ChannelMapper', in_channels=[128, 128, 128], out_channels=128, kernel_size=1,
             norm_cfg=dict(type='BN'), act_cfg=None, num_outs=3),
    ],
    query_selection=dict(type='TopKQuerySelection', num_queries=60),
    decoder=dict(
        type='DETRDecoder',
        num_layers=3,
        layer=dict(type='DeformableDecoderLayer', feedforward_dims=256, num_heads=8, num_points=4)),
    bbox_head=dict(type='LayerwiseHead', num_classes=6),
    denoising=dict(type='ContrastiveDenoising', num_queries=40),
    matcher=dict(type='HungarianMatcher'),
    criterion=dict(type='DETRCriterion', loss_class=dict(type='QueryVarifocalLoss')),
    test_cfg=dict(max_per_img=60))

max_epochs = 24
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[dict(match=r'norm|bn|bias', decay_mult=0.0)]))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=max_epochs, end=max_epochs, by_epoch=True,
         convert_to_iter_based=True),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-3, gamma=200, update_buffers=True, priority=49)
]
