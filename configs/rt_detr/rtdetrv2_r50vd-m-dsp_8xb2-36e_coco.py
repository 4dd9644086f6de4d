# RT-DETRv2 R50-m with discrete sampling, tuned from the trained model. Official: rtdetrv2_r50vd_m_dsp_3x_coco.yml
_base_ = './rtdetrv2_r50vd-m_8xb2-84e_coco.py'

model = dict(decoder=dict(layer=dict(sampling_method='discrete')))
load_from = 'https://github.com/lyuwenyu/storage/releases/download/v0.1/rtdetrv2_r50vd_m_7x_coco_ema.pth'

train_cfg = dict(max_epochs=36)
custom_hooks = [
    _base_.custom_hooks[0],
    # the last three of 36 epochs are plain
    dict(_base_.custom_hooks[1], after=33 / 36),
]
