# RT-DETR with the position relation.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(decoder=dict(relation=dict(type='PositionRelation')))
