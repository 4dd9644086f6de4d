# The small RT-DETR for the built-in sample data with what Relation-DETR adds.
_base_ = '../rt_detr/rtdetr_nano_shapes.py'

model = dict(
    decoder=dict(relation=dict(type='PositionRelation')),
    one_to_many=dict(
        type='OneToManyBranch',
        num_queries=150,
        targets_per_object=6,
        selection=dict(type='TopKQuerySelection', own_projection=False)))
