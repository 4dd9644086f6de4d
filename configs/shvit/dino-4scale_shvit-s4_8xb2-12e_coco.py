# DINO with SHViT-S4; no paper has the two together. Levels have strides 16 to 128, twice those of other backbones.
_base_ = '../dino/dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='shvit_s4',
        pretrained=True,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[224, 336, 448]))

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
