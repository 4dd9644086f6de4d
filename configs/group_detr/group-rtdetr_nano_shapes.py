# The small RT-DETR for the built-in sample data, trained with groups.
_base_ = '../rt_detr/rtdetr_nano_shapes.py'

model = dict(groups=dict(type='GroupBranch', num_groups=5))
