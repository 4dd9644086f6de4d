# Relation-DETR R50 and its schedule, without data. Official: configs/relation_detr/relation_detr_resnet50_800_1333.py
_base_ = '../../_base_/models/detr_r50.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    # torchvision's IMAGENET1K_V2
    backbone=dict(init_cfg=dict(checkpoint='https://download.pytorch.org/models/resnet50-11ad3fa6.pth')),
    neck=dict(_delete_=True, type='ChannelMapper', in_channels=[512, 1024, 2048], out_channels=256, kernel_size=1,
              norm_cfg=dict(type='GN', num_groups=32), act_cfg=None, num_outs=4),
    encoder=dict(type='DeformableEncoder', num_layers=6, feedforward_dims=2048, offset=-0.5,
                 fusion=dict(type='MemoryFusion')),
    query_selection=dict(type='TopKQuerySelection', num_queries=900, content='learned'),
    decoder=dict(
        type='DETRDecoder',
        num_layers=6,
        layer=dict(type='DeformableDecoderLayer', feedforward_dims=2048),
        position=dict(type='SineBoxPosition', scaled=True),
        relation=dict(type='PositionRelation'),
        norm=True,
        eps=1e-3,
        init='xavier'),
    bbox_head=dict(type='LayerwiseHead', num_classes=80),
    denoising=dict(type='ContrastiveDenoising', num_queries=100, label_noise_ratio=0.5, box_noise_scale=1.0, eps=1e-3,
                   centred_padding=True),
    # the contrastive branch: without the relation
    one_to_many=dict(
        type='OneToManyBranch',
        num_queries=1500,
        targets_per_object=6,
        selection=dict(type='TopKQuerySelection', content='learned', own_projection=False)),
    matcher=dict(type='HungarianMatcher', cost_class=2.0, cost_bbox=5.0, cost_giou=2.0),
    criterion=dict(
        type='DETRCriterion',
        loss_class=dict(type='QueryVarifocalLoss', alpha=0.75, gamma=2.0),
        weight_class=1.0,
        weight_bbox=5.0,
        weight_giou=2.0),
    init_cfg=dict(type='RelationDETRInit'),
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
    paramwise_cfg=dict(groups=[
        dict(match=r'^backbone\.', lr_mult=0.1),
        dict(match=r'sampling_offsets\.bias$', lr_mult=0.1, decay_mult=0.0),
        dict(match=r'sampling_offsets\.', lr_mult=0.1),
        # The official rule looks for "norm", which these norms lack in their names there: their weights decay.
        dict(match=r'^(neck\..*\.gn|encoder\.fusion\.norm)\.weight$'),
        dict(match=r'norm|bias', decay_mult=0.0),
    ]))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', milestones=[10 / 12], gamma=0.1),
]

# The authors trained with this rate on 10 images in a step, 5 on each of two GPUs.
auto_scale_lr = dict(base_batch_size=10, enable=False)
