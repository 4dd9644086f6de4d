# Two-stage Deformable DETR with feed-forward networks of H-DETR's width. Official: deformable-detr-baseline/36eps/
# r50_deformable_detr_plus_iterative_bbox_refinement_plus_plus_two_stage.sh
_base_ = './h-detr-no-one-to-many_r50_8xb2-36e_coco.py'

model = dict(
    encoder=dict(dropout=0.1),
    query_selection=dict(content='position'),
    decoder=dict(look_forward_twice=False, layer=dict(dropout=0.1)))
