# A row of the paper's table 7: half as many decoder layers
_base_ = '../dab-detr_r50_8xb2-50e_coco.py'

model = dict(decoder=dict(num_layers=3))
