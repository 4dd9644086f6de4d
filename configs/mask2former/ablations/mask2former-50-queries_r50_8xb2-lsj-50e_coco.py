# Row "50" of the paper's table X (a)
_base_ = './mask2former_r50_8xb2-lsj-50e_coco.py'

model = dict(panoptic_head=dict(num_queries=50))
