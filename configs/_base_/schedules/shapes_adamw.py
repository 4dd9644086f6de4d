# AdamW with warm-up and cosine decay, for small models that learn the built-in sample data from scratch. The inheriting
# file sets `train_cfg` and may set the rate.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2, fused=True),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    constructor='RegexOptimWrapperConstructor',
    paramwise_cfg=dict(groups=[dict(match=r'norm|bn|relative_position_bias_table|rpb', decay_mult=0.0)]))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, T_max=1.0, by_epoch=True, convert_to_iter_based=True),
]
randomness = dict(seed=0)
