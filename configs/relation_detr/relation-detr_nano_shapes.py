# A small Relation-DETR for the built-in sample data.
_base_ = '../dino/dino_nano_shapes.py'

model = dict(
    encoder=dict(temperature=10000.0, offset=-0.5, fusion=dict(type='MemoryFusion')),
    one_to_many=dict(
        type='OneToManyBranch', num_queries=200, targets_per_object=4,
        selection=dict(type='TopKQuerySelection', content='learned', own_projection=False)),
    decoder=dict(position=dict(scaled=True), relation=dict(type='PositionRelation')),
    bbox_head=dict(shared=False),
    criterion=dict(loss_class=dict(_delete_=True, type='QueryVarifocalLoss')))
