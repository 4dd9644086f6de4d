# DINO with VAN-Base (B2); no paper has the two together.
_base_ = '../dino/dino-4scale_r50_8xb2-12e_coco.py'

weights = ('https://mmassets.onedl.ai/mmclassification/v0/van/'
           'van-base_8xb128_in1k_20220501-6a4cc31b.pth')
model = dict(
    backbone=dict(
        _delete_=True,
        type='MMPretrainBackbone',
        backbone=dict(type='VAN', arch='base', drop_path_rate=0.1),
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    neck=dict(in_channels=[128, 320, 512]))

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
