# RT-DETR with CSWin-Tiny; no paper has the two together.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

weights = 'https://github.com/microsoft/CSWin-Transformer/releases/download/v0.1.0/'
model = dict(
    # images as in the backbone's pretraining
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='CSWin',
        arch='tiny',
        drop_path_rate=0.1,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'cswin_tiny_224.pth')),
    neck=[dict(_base_.model.neck[0], in_channels=[128, 256, 512]), _base_.model.neck[1]])

# No decay of norms and biases, as the backbone was trained.
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|bias)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
