# DINO Swin-L with five feature levels. Official: config/DINO/DINO_4scale_swin.py with the levels of DINO_5scale.py
_base_ = './dino-4scale_r50_8xb2-12e_coco.py'

swin_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
model = dict(
    num_levels=5,
    backbone=dict(
        _delete_=True,
        type='Swin',
        arch='large',
        window_size=12,
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
        with_cp=True,  # activations are computed again in the backward pass, to save memory
        init_cfg=dict(type='Pretrained', checkpoint=swin_url + 'swin_large_patch4_window12_384_22k.pth')),
    neck=dict(in_channels=[192, 384, 768, 1536], num_outs=5))
