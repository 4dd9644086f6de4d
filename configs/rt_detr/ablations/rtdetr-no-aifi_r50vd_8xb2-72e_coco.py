# RT-DETR without attention in the encoder: the fusion of levels alone
_base_ = '../rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(neck=[dict(_base_.model.neck[0], num_attention_layers=0), _base_.model.neck[1]])
