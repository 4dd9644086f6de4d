# DINO with FocalNet-Tiny; the paper has DINO with its largest one.
_base_ = '../dino/dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='focalnet_tiny_srf',
        pretrained=True,
        strides=(8, 16, 32),
        out_norm=True,
        drop_path_rate=0.1),
    neck=dict(in_channels=[192, 384, 768]))

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
