_base_ = '../relation-detr_r50_8xb2-12e_sa-det-100k.py'

model = dict(decoder=dict(relation=None), one_to_many=None)
