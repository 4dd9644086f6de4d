# The paper's encoder variant A: none, only the decoder's projections
_base_ = './rtdetr-focal_r50vd_8xb2-12e_coco.py'

model = dict(neck=[dict(_base_.model.neck[1], in_channels=[512, 1024, 2048])])
