# A small two-stage Deformable DETR for the built-in sample data: the small H-DETR without what H-DETR adds.
_base_ = '../h_detr/h-detr_nano_shapes.py'

model = dict(
    query_selection=dict(content='position'),
    one_to_many=None,
    decoder=dict(look_forward_twice=False))
