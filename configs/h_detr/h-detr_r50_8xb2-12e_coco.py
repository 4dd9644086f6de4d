# H-DETR R50, the file that the other H-DETR configs inherit from. Official: configs/two_stage/
# deformable-detr-hybrid-branch/12eps/r50_hybrid_branch_lambda1_group6_t1500_dp0_mqs_lft_deformable_detr_plus_
# iterative_bbox_refinement_plus_plus_two_stage.sh
_base_ = '../deformable_detr/deformable-detr-two-stage_r50_16xb2-50e_coco.py'

model = dict(
    encoder=dict(feedforward_dims=2048, dropout=0.0),
    query_selection=dict(content='learned'),  # mixed selection
    one_to_many=dict(type='OneToManyBranch', num_queries=1500, targets_per_object=6, loss_weight=1.0),
    decoder=dict(look_forward_twice=True, layer=dict(feedforward_dims=2048, dropout=0.0)))

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(type='MultiStepLR', milestones=[11 / 12], gamma=0.1)]

auto_scale_lr = dict(base_batch_size=16)
