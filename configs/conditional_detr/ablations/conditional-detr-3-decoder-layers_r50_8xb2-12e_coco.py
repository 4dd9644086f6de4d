# Conditional DETR with three decoder layers; fewer at test time need no training: model.decoder.eval_layers
_base_ = '../conditional-detr_r50_8xb2-12e_coco.py'

model = dict(decoder=dict(num_layers=3))
