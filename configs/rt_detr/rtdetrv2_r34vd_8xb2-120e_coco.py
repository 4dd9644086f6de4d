# RT-DETRv2 R34. Official: rtdetrv2_r34vd_120e_coco.yml
_base_ = './rtdetrv2_r50vd_8xb2-72e_coco.py'

model = dict(
    backbone=dict(
        depth=34,
        frozen_stages=-1,
        norm_frozen=False,
        init_cfg=dict(checkpoint=_base_.backbone_url + 'ResNet34_vd_pretrained_from_paddle.pth')),
    neck=[
        dict(type='HybridEncoder', in_channels=[128, 256, 512], embed_dims=256, feedforward_dims=1024,
             expansion=0.5),
        _base_.model.neck[1],
    ],
    decoder=dict(num_layers=4))

train_cfg = dict(max_epochs=120)
# half the rate for the backbone: a light one has more to learn
optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*norm', lr_mult=0.5, decay_mult=0.0),
    dict(match=r'^backbone\.', lr_mult=0.5),
    dict(match=r'norm|bn|bias', decay_mult=0.0),
]))
custom_hooks = [
    _base_.custom_hooks[0],
    # the last three of 120 epochs are plain
    dict(_base_.custom_hooks[1], after=117 / 120),
]
