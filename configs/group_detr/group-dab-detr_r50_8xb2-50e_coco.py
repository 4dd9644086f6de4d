_base_ = '../dab_detr/dab-detr_r50_8xb2-50e_coco.py'

model = dict(groups=dict(type='GroupBranch', num_groups=11))
