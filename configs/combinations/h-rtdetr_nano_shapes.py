# The small RT-DETR with H-DETR's one-to-many branch.
_base_ = '../rt_detr/rtdetr_nano_shapes.py'

model = dict(one_to_many=dict(type='OneToManyBranch', num_queries=200, targets_per_object=4, content='memory'))
