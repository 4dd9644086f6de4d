# Conditional DETR with as many queries as DETR has
_base_ = '../conditional-detr_r50_8xb2-12e_coco.py'

model = dict(query_selection=dict(num_queries=100))
