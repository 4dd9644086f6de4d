# Both branches with the relation: no contrast between them.
_base_ = '../relation-detr_r50_8xb2-12e_coco.py'

model = dict(decoder=dict(relation=dict(without=())))
