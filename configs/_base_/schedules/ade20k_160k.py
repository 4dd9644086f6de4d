# 160,000 iterations of AdamW as UPerNet is trained on ADE20K with Swin and its heirs, 8 GPUs with 2 images each (set
# train_dataloader.batch_size), and the runtime of segmentors.
_base_ = '../default_runtime_seg.py'

interval = 16000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=interval))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[
        # norms and what learns positions
        dict(match=r'norm|relative_position_bias_table|absolute_pos_embed|rpb', decay_mult=0.0),
    ]))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    # from the first iteration on: the warm-up multiplies it
    dict(type='PolyLR', power=1.0, by_epoch=False, begin=0, end=1.0),
]

auto_scale_lr = dict(base_batch_size=16, enable=False)
