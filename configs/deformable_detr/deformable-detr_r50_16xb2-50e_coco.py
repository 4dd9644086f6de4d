# Deformable DETR R50, the file that the other Deformable DETR configs inherit from. Official:
# configs/r50_deformable_detr.sh
_base_ = ['../_base_/models/detr_r50.py', '../_base_/datasets/coco_detr.py', '../_base_/default_runtime.py']

model = dict(
    encoder=dict(type='DeformableEncoder', num_layers=6, feedforward_dims=1024, dropout=0.1, offset=-0.5),
    query_selection=dict(type='LearnedQueries', num_queries=300, reference='position'),
    decoder=dict(
        type='DETRDecoder',
        num_layers=6,
        position=None,
        refine_boxes=False,
        look_forward_twice=False,
        init='xavier',
        layer=dict(type='DeformableDecoderLayer', feedforward_dims=1024, num_heads=8, num_points=4, dropout=0.1)),
    bbox_head=dict(type='LayerwiseHead', num_classes=80, shared=True, size_bias=-2.0),
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
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[
        dict(match=r'^backbone\.', lr_mult=0.1),
        dict(match=r'sampling_offsets', lr_mult=0.1),
        dict(match=r'reference_points', lr_mult=0.1),
    ]))
param_scheduler = [dict(type='MultiStepLR', milestones=[40 / 50], gamma=0.1)]

auto_scale_lr = dict(base_batch_size=32, enable=False)
