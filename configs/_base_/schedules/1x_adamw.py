# 12 epochs of AdamW as Swin and its heirs are trained on COCO, 8 GPUs with 2 images each. The authors train in mixed
# precision (--amp).
max_epochs = 12
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[
        # norms and what learns positions
        dict(match=r'norm|relative_position_bias_table|absolute_pos_embed|rpb', decay_mult=0.0),
    ]))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', milestones=[8 / 12, 11 / 12], gamma=0.1),
]

auto_scale_lr = dict(base_batch_size=16, enable=False)
