# RT-DETRv2 R18. Official: rtdetrv2_r18vd_120e_coco.yml
_base_ = './rtdetrv2_r50vd_8xb2-72e_coco.py'

model = dict(
    data_preprocessor=dict(batch_augments=None),  # one size
    backbone=dict(
        depth=18,
        frozen_stages=-1,
        norm_frozen=False,
        init_cfg=dict(checkpoint=_base_.backbone_url + 'ResNet18_vd_pretrained_from_paddle.pth')),
    neck=[
        dict(type='HybridEncoder', in_channels=[128, 256, 512], embed_dims=256, feedforward_dims=1024,
             expansion=0.5),
        _base_.model.neck[1],
    ],
    decoder=dict(num_layers=3))

train_cfg = dict(max_epochs=120)
# the backbone learns as fast as the rest
optim_wrapper = dict(paramwise_cfg=dict(groups=[dict(match=r'norm|bn', decay_mult=0.0)]))
custom_hooks = [
    _base_.custom_hooks[0],
    # the last three of 120 epochs are plain
    dict(type='StopAugmentation', after=117 / 120,
         transforms=('RandomPhotometricDistort', 'RandomZoomOut', 'RandomIoUCrop')),
]
