# DINO with NASNet-A-Large; no paper has the two together.
_base_ = '../dino/dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),  # as in the backbone's pretraining
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='nasnetalarge',
        pretrained=True,
        strides=(8, 16, 32),
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[1008, 2016, 4032]))

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
