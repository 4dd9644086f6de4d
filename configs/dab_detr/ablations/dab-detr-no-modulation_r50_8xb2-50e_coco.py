# Row 3 of the paper's table 3: width and height of the anchors do not stretch the spatial query
_base_ = '../dab-detr_r50_8xb2-50e_coco.py'

model = dict(decoder=dict(spatial_query=dict(modulated=False)))
