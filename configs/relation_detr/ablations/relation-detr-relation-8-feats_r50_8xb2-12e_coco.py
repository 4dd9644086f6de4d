# Half the channels in the embedding of a pair.
_base_ = '../relation-detr_r50_8xb2-12e_coco.py'

model = dict(decoder=dict(relation=dict(num_feats=8)))
