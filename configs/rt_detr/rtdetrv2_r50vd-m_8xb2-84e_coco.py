# RT-DETRv2 R50-m: narrower neck, three of six decoder layers in use. Official: rtdetrv2_r50vd_m_7x_coco.yml
_base_ = './rtdetrv2_r50vd_8xb2-72e_coco.py'

model = dict(
    neck=[dict(_base_.model.neck[0], expansion=0.5), _base_.model.neck[1]],
    decoder=dict(eval_layers=3))

train_cfg = dict(max_epochs=84)
custom_hooks = [
    _base_.custom_hooks[0],
    # the last three of 84 epochs are plain
    dict(_base_.custom_hooks[1], after=81 / 84),
]
