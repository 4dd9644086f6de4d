_base_ = '../group-conditional-detr_r50_8xb2-12e_coco.py'

model = dict(groups=dict(num_groups=13))
