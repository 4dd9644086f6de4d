# RT-DETRv2 R34 with discrete sampling, tuned from the trained model. Official: rtdetrv2_r34vd_dsp_1x_coco.yml
_base_ = './rtdetrv2_r34vd_8xb2-120e_coco.py'

model = dict(decoder=dict(layer=dict(sampling_method='discrete')))
load_from = 'https://github.com/lyuwenyu/storage/releases/download/v0.1/rtdetrv2_r34vd_120e_coco_ema.pth'

train_cfg = dict(max_epochs=12)
custom_hooks = [
    _base_.custom_hooks[0],
    # the last two of 12 epochs are plain
    dict(_base_.custom_hooks[1], after=10 / 12),
]
