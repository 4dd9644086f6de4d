# Half as wide in the neck; trained with six decoder layers, used with three. Official: rtdetr_r50vd_m_6x_coco.yml
_base_ = './rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
    neck=[
        dict(type='HybridEncoder', in_channels=[512, 1024, 2048], embed_dims=256, feedforward_dims=1024,
             expansion=0.5),
        _base_.model.neck[1],
    ],
    decoder=dict(eval_layers=3))
