# Row 5 of the paper's table 3: the temperature of DETR's position embedding
_base_ = '../dab-detr_r50_8xb2-50e_coco.py'

model = dict(encoder=dict(temperature=10000.0))
