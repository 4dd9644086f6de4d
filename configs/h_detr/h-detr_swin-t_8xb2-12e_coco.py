# Official: 12eps/swin/swin_tiny_hybrid_branch_lambda1_group6_t1500_dp0_mqs_lft_deformable_detr_plus_iterative_bbox_
# refinement_plus_plus_two_stage.sh. With weight_decay=0.05 the authors report 0.5 to 0.6 AP more
# (decay0.05_swin_tiny_*).
_base_ = './h-detr_r50_8xb2-12e_coco.py'

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
