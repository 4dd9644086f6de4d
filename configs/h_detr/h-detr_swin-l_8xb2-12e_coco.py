# Official: 12eps/swin/swin_large_hybrid_branch_lambda1_group6_t1500_dp0_mqs_lft_deformable_detr_plus_iterative_bbox_
# refinement_plus_plus_two_stage.sh
_base_ = './h-detr_swin-t_8xb2-12e_coco.py'

swin_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint=swin_url + 'swin_large_patch4_window7_224_22k.pth')),
    neck=dict(in_channels=[384, 768, 1536]))
