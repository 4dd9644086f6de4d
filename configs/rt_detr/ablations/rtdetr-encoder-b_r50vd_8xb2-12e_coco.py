# The paper's encoder variant B: one transformer layer, shared by the levels, attends inside each of them
_base_ = './rtdetr-focal_r50vd_8xb2-12e_coco.py'

model = dict(neck=[
    dict(type='IntraScaleEncoder', in_channels=[512, 1024, 2048], embed_dims=256, feedforward_dims=1024,
         attention_levels=[0, 1, 2]),
    _base_.model.neck[1],
])
