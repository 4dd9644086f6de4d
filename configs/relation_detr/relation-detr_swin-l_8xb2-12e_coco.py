# Official: relation_detr_swin_l_800_1333.py
_base_ = './relation-detr_r50_8xb2-12e_coco.py'

swin_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
model = dict(
    backbone=dict(
        _delete_=True,
        type='Swin',
        arch='large',
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        out_norm=False,
        frozen_stages=1,
        init_cfg=dict(type='Pretrained', checkpoint=swin_url + 'swin_large_patch4_window7_224_22k.pth')),
    neck=dict(in_channels=[384, 768, 1536]))

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|bias)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
