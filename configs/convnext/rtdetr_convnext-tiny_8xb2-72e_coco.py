# RT-DETR with ConvNeXt-Tiny; no paper has the two together. Drop path is that of the paper's Mask R-CNN.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

weights = ('https://mmassets.onedl.ai/mmclassification/v0/convnext/downstream/'
           'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth')
model = dict(
    # images as in the backbone's pretraining
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='MMPretrainBackbone',
        backbone=dict(type='ConvNeXt', arch='tiny', drop_path_rate=0.4, layer_scale_init_value=1.0),
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    neck=[dict(_base_.model.neck[0], in_channels=[192, 384, 768]), _base_.model.neck[1]])

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
