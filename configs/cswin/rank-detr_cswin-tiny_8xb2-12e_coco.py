# Rank-DETR with CSWin-Tiny, set up as in dino-4scale_cswin-tiny_8xb2-12e_coco.py
_base_ = '../rank_detr/rank-detr_r50_8xb2-12e_coco.py'

weights = 'https://github.com/microsoft/CSWin-Transformer/releases/download/v0.1.0/'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CSWin',
        arch='tiny',
        drop_path_rate=0.1,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'cswin_tiny_224.pth')),
    neck=dict(in_channels=[128, 256, 512]))

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|bias)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
