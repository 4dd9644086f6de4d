# Row (c) of the paper's table 7: groups are matched by themselves, but all queries see each other
_base_ = '../group-conditional-detr_r50_8xb2-12e_coco.py'

model = dict(groups=dict(separate=False))
