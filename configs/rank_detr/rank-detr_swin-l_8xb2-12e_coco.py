# Official: rank_detr_swin_large_two_stage_12ep.py
_base_ = './rank-detr_swin-t_8xb2-12e_coco.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint=_base_.swin_url + 'swin_large_patch4_window7_224_22k.pth')),
    neck=dict(in_channels=[384, 768, 1536]))
