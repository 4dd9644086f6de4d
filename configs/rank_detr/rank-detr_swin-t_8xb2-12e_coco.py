# Official: rank_detr_swin_tiny_two_stage_12ep.py
_base_ = './rank-detr_r50_8xb2-12e_coco.py'

swin_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
model = dict(
    backbone=dict(
        _delete_=True,
        type='Swin',
        arch='tiny',
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        with_cp=True,  # activations are computed again in the backward pass, to save memory
        init_cfg=dict(type='Pretrained', checkpoint=swin_url + 'swin_tiny_patch4_window7_224.pth')),
    neck=dict(in_channels=[192, 384, 768]))
