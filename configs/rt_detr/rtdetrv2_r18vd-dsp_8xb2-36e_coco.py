# RT-DETRv2 R18 with discrete sampling, tuned from the trained model. Official: rtdetrv2_r18vd_dsp_3x_coco.yml
_base_ = './rtdetrv2_r18vd_8xb2-120e_coco.py'

model = dict(decoder=dict(layer=dict(sampling_method='discrete')))
load_from = 'https://github.com/lyuwenyu/storage/releases/download/v0.1/rtdetrv2_r18vd_120e_coco.pth'

train_cfg = dict(max_epochs=36)
custom_hooks = [
    _base_.custom_hooks[0],
    dict(_base_.custom_hooks[1], after=33 / 36),
]
