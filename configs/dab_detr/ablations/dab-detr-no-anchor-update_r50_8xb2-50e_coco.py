# Row 2 of the paper's table 3: all decoder layers start from the learned anchors, none refines them for the next
_base_ = '../dab-detr_r50_8xb2-50e_coco.py'

model = dict(decoder=dict(refine_boxes=False))
