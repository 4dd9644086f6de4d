# A small H-DETR for the built-in sample data.
_base_ = '../dino/dino_nano_shapes.py'

model = dict(
    query_selection=dict(fixed_position=True, class_agnostic=True, supervise='all', content_init='normal'),
    one_to_many=dict(type='OneToManyBranch', num_queries=200, targets_per_object=4),
    denoising=None,
    decoder=dict(position=None, norm=False, eps=1e-5),
    bbox_head=dict(shared=False))
