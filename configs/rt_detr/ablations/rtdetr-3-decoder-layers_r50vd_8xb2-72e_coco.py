# RT-DETR with three decoder layers, trained so; fewer at test time alone: model.decoder.eval_layers
_base_ = '../rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(decoder=dict(num_layers=3))
