# 900 queries in the main branch. Official: the file with _n900 in its name
_base_ = './h-detr_swin-l_8xb2-12e_coco.py'

model = dict(query_selection=dict(num_queries=900))
