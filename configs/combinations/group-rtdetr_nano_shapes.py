# The small RT-DETR with two further groups of queries.
_base_ = '../rt_detr/rtdetr_nano_shapes.py'

model = dict(groups=dict(type='GroupBranch', num_groups=3))
