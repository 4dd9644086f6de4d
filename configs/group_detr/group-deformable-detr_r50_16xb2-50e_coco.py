_base_ = '../deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'

model = dict(groups=dict(type='GroupBranch', num_groups=11))
