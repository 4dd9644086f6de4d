# Conditional DETR R50, the file that the other Conditional DETR configs inherit from. Official:
# scripts/conddetr_r50_epoch50.sh
_base_ = ['../_base_/models/detr_r50.py', '../_base_/datasets/coco_detr.py', '../_base_/default_runtime.py']

model = dict(
    num_levels=1,
    backbone=dict(out_indices=(3, )),
    neck=dict(
        _delete_=True,
        type='ChannelMapper',
        in_channels=[2048],
        out_channels=256,
        kernel_size=1,
        norm_cfg=None,
        act_cfg=None,
        num_outs=1,
        # as PyTorch starts a convolution
        init_cfg=dict(type='Kaiming', layer='Conv2d', a=5**0.5, mode='fan_in', nonlinearity='leaky_relu',
                      distribution='uniform')),
    encoder=dict(type='DenseEncoder', num_layers=6, feedforward_dims=2048, dropout=0.1),
    query_selection=dict(
        type='LearnedQueries', num_queries=300, reference='position', point_layers=2, learned_content=False),
    decoder=dict(
        type='DETRDecoder',
        num_layers=6,
        position=None,
        spatial_query=dict(type='ConditionalSpatialQuery'),
        norm=True,
        refine_boxes=False,
        look_forward_twice=False,
        init='xavier',
        layer=dict(type='ConditionalDecoderLayer', feedforward_dims=2048, num_heads=8, dropout=0.1),
        first_layer=dict(located_content=True)),
    bbox_head=dict(type='LayerwiseHead', num_classes=80, shared=True),
    matcher=dict(type='HungarianMatcher', cost_class=2.0, cost_bbox=5.0, cost_giou=2.0),
    criterion=dict(
        type='DETRCriterion',
        loss_class=dict(type='QueryFocalLoss', alpha=0.25, gamma=2.0),
        weight_class=2.0,
        weight_bbox=5.0,
        weight_giou=2.0),
    test_cfg=dict(max_per_img=100))

max_epochs = 50
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[dict(match=r'^backbone\.', lr_mult=0.1)]))
param_scheduler = [dict(type='MultiStepLR', milestones=[40 / 50], gamma=0.1)]

auto_scale_lr = dict(base_batch_size=16, enable=False)
