# RT-DETR with Swin-T. No paper has trained this; the schedule is that of RT-DETR with ResNet-50.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

swin_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),  # as Swin was trained
    backbone=dict(
        _delete_=True,
        type='Swin',
        arch='tiny',
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=swin_url + 'swin_tiny_patch4_window7_224.pth')),
    neck=[dict(_base_.model.neck[0], in_channels=[192, 384, 768]), _base_.model.neck[1]])

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|relative_position_bias_table)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
