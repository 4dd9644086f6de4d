# Row (b) of the paper's table 7: one group, in which each object has as many queries as it has groups elsewhere
_base_ = '../group-conditional-detr_r50_8xb2-12e_coco.py'

model = dict(groups=None, targets_per_object=11)
