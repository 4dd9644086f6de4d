# Two-stage Deformable DETR with the position relation.
_base_ = '../deformable_detr/deformable-detr-two-stage_r50_16xb2-50e_coco.py'

model = dict(decoder=dict(relation=dict(type='PositionRelation')))
