_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(groups=dict(type='GroupBranch', num_groups=11))
