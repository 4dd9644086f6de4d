# RT-DETR with TinyViT-21M; no paper has the two together.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
    # images as in the backbone's pretraining
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tiny_vit_21m_224',
        pretrained=True,
        strides=(8, 16, 32),
        drop_path_rate=0.1,
        norm_eval=True),  # statistics of two images say little; as in MMDetection's ResNet
    neck=[dict(_base_.model.neck[0], in_channels=[192, 384, 576]), _base_.model.neck[1]])

# Norms, biases and scales of the backbone do not decay, as where it was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone', ndim=1, lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
