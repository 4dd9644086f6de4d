# 80,000 iterations of AdamW as Semantic FPN is trained on ADE20K with PVT and its heirs, 16 images in a step, and the
# runtime of segmentors.
_base_ = './ade20k_160k.py'

interval = 8000
train_cfg = dict(max_iters=80000, val_interval=interval)
default_hooks = dict(checkpoint=dict(interval=interval))

optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4), paramwise_cfg=dict(_delete_=True))
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=1.0)]
