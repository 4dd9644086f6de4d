# Official: 36eps/swin/drop_path0.5_swin_large_hybrid_branch_lambda1_group6_t1500_dp0_mqs_lft_deformable_detr_plus_
# iterative_bbox_refinement_plus_plus_two_stage.sh
_base_ = './h-detr_swin-l_8xb2-12e_coco.py'

model = dict(backbone=dict(drop_path_rate=0.5))

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(type='MultiStepLR', milestones=[30 / 36], gamma=0.1)]
