# DAB-Deformable-DETR with the position relation.
_base_ = '../dab_detr/dab-deformable-detr_r50_8xb2-12e_coco.py'

model = dict(decoder=dict(relation=dict(type='PositionRelation')))
