# Rank-DETR with DiNAT-Tiny, set up as in dino-4scale_dinat-tiny_8xb2-12e_coco.py
_base_ = '../rank_detr/rank-detr_r50_8xb2-12e_coco.py'

weights = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet1k/'
model = dict(
    backbone=dict(
        _delete_=True,
        type='DiNAT',
        arch='tiny',
        dilations='coco',
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'dinat_tiny_in1k_224.pth')),
    neck=dict(in_channels=[128, 256, 512]))

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|rpb)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
