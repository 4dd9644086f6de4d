_base_ = '../conditional_detr/conditional-detr-dc5_r50_8xb1-50e_coco.py'

model = dict(groups=dict(type='GroupBranch', num_groups=11))
