# RT-DETR with HorNet-Tiny; no paper has the two together.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

weights = ('https://mmassets.onedl.ai/mmclassification/v0/hornet/'
           'hornet-tiny_3rdparty_in1k_20220915-0e8eedff.pth')
model = dict(
    # images as in the backbone's pretraining
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='MMPretrainBackbone',
        backbone=dict(type='HorNet', arch='tiny', drop_path_rate=0.2),
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    neck=[dict(_base_.model.neck[0], in_channels=[128, 256, 512]), _base_.model.neck[1]])

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
