# Rank-DETR without the query rank layer: queries are sorted, for the head, but not told their rank
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(decoder=dict(ranking=dict(rank_layer=False)))
