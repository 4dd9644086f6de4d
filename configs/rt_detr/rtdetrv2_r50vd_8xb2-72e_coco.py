# RT-DETRv2 R50: the network of v1 with other training settings. Official: rtdetrv2_r50vd_6x_coco.yml
_base_ = './rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
    neck=[
        _base_.model.neck[0],
        dict(_base_.model.neck[1], init_cfg=dict(type='Xavier', layer='Conv2d', distribution='uniform')),
    ],
    decoder=dict(layer=dict(sampling_method='default', num_points=4, feedforward_init='xavier')))

optim_wrapper = dict(
    type='AmpOptimWrapper',
    paramwise_cfg=dict(groups=[
        dict(match=r'^backbone\.(?!.*norm)', lr_mult=0.1),
        dict(match=r'^(?!backbone\.).*(norm|bn)', decay_mult=0.0),
    ]))
# iteration t runs at (t + 1) / 2000 of the rate
param_scheduler = [dict(type='LinearLR', start_factor=1 / 2000, by_epoch=False, begin=0, end=2000)]

custom_hooks = [
    *_base_.custom_hooks,
    # the last of 72 epochs is plain
    dict(type='StopAugmentation', after=71 / 72,
         transforms=('RandomPhotometricDistort', 'RandomZoomOut', 'RandomIoUCrop', 'BatchRandomChoiceResize')),
]
