# Official: main.py --group_detr 11 of branch GroupDETR, with its 50 epochs
_base_ = '../conditional_detr/conditional-detr_r50_8xb2-50e_coco.py'

model = dict(groups=dict(type='GroupBranch', num_groups=11))
