# DINO with MaxViT-Tiny; no paper has the two together. The backbone pads images to multiples of 224 pixels.
_base_ = '../dino/dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='maxvit_tiny_tf_224',
        pretrained=True,
        strides=(8, 16, 32),
        drop_path_rate=0.1,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=dict(in_channels=[128, 256, 512]))

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
