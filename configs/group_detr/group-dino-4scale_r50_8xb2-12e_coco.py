_base_ = '../dino/dino-4scale_r50_8xb2-12e_coco.py'

model = dict(groups=dict(type='GroupBranch', num_groups=11))
