# RT-DETR R50, the file that the other RT-DETR configs inherit from. Official: rtdetr_r50vd_6x_coco.yml
_base_ = ['../_base_/datasets/coco_detection_rtdetr.py', '../_base_/default_runtime.py']

backbone_url = 'https://github.com/lyuwenyu/storage/releases/download/v0.1/'
model = dict(
    type='OneDETR',
    embed_dims=256,
    num_levels=3,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        batch_augments=[
            # 640 counts three times
            dict(type='BatchRandomChoiceResize',
                 sizes=[480, 512, 544, 576, 608, 640, 640, 640, 672, 704, 736, 768, 800])
        ]),
    backbone=dict(
        type='ResNetVD',
        depth=50,
        out_indices=(1, 2, 3),
        frozen_stages=0,
        norm_frozen=True,
        init_cfg=dict(type='Pretrained', checkpoint=backbone_url + 'ResNet50_vd_ssld_v2_pretrained_from_paddle.pth')),
    neck=[
        dict(type='HybridEncoder', in_channels=[512, 1024, 2048], embed_dims=256, feedforward_dims=1024,
             expansion=1.0),
        dict(type='ChannelMapper', in_channels=[256, 256, 256], out_channels=256, kernel_size=1,
             norm_cfg=dict(type='BN'), act_cfg=None, num_outs=3,
             # PyTorch's own initialisation, as in the official code
             init_cfg=dict(type='Kaiming', layer='Conv2d', a=5**0.5, mode='fan_in', nonlinearity='leaky_relu',
                           distribution='uniform')),
    ],
    query_selection=dict(type='TopKQuerySelection', num_queries=300),
    decoder=dict(
        type='DETRDecoder',
        num_layers=6,
        position=dict(type='BoxPosition'),
        eval_layers=None,
        layer=dict(type='DeformableDecoderLayer', feedforward_dims=1024, num_heads=8, num_points=4)),
    bbox_head=dict(type='LayerwiseHead', num_classes=80),
    denoising=dict(type='ContrastiveDenoising', num_queries=100, label_noise_ratio=0.5, box_noise_scale=1.0),
    matcher=dict(type='HungarianMatcher', cost_class=2.0, cost_bbox=5.0, cost_giou=2.0),
    criterion=dict(
        type='DETRCriterion',
        loss_class=dict(type='QueryVarifocalLoss', alpha=0.75, gamma=2.0),
        weight_class=1.0,
        weight_bbox=5.0,
        weight_giou=2.0),
    test_cfg=dict(max_per_img=300))

max_epochs = 72
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[
        dict(match=r'^backbone\.', lr_mult=0.1),
        # The official pattern looks for "norm", which two of its norms lack in their names: their weights decay.
        dict(match=r'^(neck\.0\.input_proj\.\d+\.norm|query_selection\.output_norm)\.weight$'),
        dict(match=r'norm|bn|bias', decay_mult=0.0),
    ]))
param_scheduler = []  # a constant rate

custom_hooks = [
    dict(type='EMAHook', ema_type='ForeachExpMomentumEMA', momentum=1e-4, gamma=2000, update_buffers=True, priority=49)
]
sync_bn = 'torch'
channels_last = True
auto_scale_lr = dict(base_batch_size=16, enable=False)
