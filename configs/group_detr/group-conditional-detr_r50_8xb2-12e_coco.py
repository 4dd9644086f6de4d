# Official: scripts/conddetr_r50_epoch12_groupdetr11.sh of branch GroupDETR
_base_ = '../conditional_detr/conditional-detr_r50_8xb2-12e_coco.py'

model = dict(groups=dict(type='GroupBranch', num_groups=11))
