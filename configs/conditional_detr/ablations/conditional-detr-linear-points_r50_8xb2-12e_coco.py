# Reference points by one linear layer from the queries' positions, as in Deformable DETR, instead of two with a ReLU
_base_ = '../conditional-detr_r50_8xb2-12e_coco.py'

model = dict(query_selection=dict(point_layers=1))
