# RT-DETR with seven decoder layers; fewer at test time need no training: model.decoder.eval_layers
_base_ = '../rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(decoder=dict(num_layers=7))
