# DINO R50 with four feature levels, the file that the other DINO configs inherit from. Official:
# config/DINO/DINO_4scale.py with the box noise of the official scripts
_base_ = ['../_base_/models/detr_r50.py', '../_base_/datasets/coco_detr.py', '../_base_/default_runtime.py']

model = dict(
    encoder=dict(type='DeformableEncoder', num_layers=6, feedforward_dims=2048, temperature=20.0),
    query_selection=dict(type='TopKQuerySelection', num_queries=900, content='learned', content_init='xavier'),
    decoder=dict(
        type='DETRDecoder',
        num_layers=6,
        position=dict(type='SineBoxPosition'),
        norm=True,
        look_forward_twice=True,
        eps=1e-3,
        init='xavier',
        layer=dict(type='DeformableDecoderLayer', feedforward_dims=2048, num_heads=8, num_points=4)),
    bbox_head=dict(type='LayerwiseHead', num_classes=80, shared=True),
    denoising=dict(
        type='ContrastiveDenoising',
        num_queries=100,
        label_noise_ratio=0.5,
        box_noise_scale=1.0,
        eps=1e-3,
        centred_padding=True),
    matcher=dict(type='HungarianMatcher', cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, iou_eps=1e-6),
    criterion=dict(
        type='DETRCriterion',
        loss_class=dict(type='QueryFocalLoss', alpha=0.25, gamma=2.0),
        weight_class=1.0,
        weight_bbox=5.0,
        weight_giou=2.0,
        iou_eps=1e-6),
    test_cfg=dict(max_per_img=300))

max_epochs = 12
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[dict(match=r'^backbone\.', lr_mult=0.1)]))
param_scheduler = [dict(type='MultiStepLR', milestones=[11 / 12], gamma=0.1)]

auto_scale_lr = dict(base_batch_size=16, enable=False)
