# The small RT-DETR with ranks, position relation and groups.
_base_ = './rank-rtdetr_nano_shapes.py'

model = dict(
    decoder=dict(relation=dict(type='PositionRelation')),
    groups=dict(type='GroupBranch', num_groups=3))
