# Official: rtdetr_r18vd_6x_coco.yml
_base_ = './rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
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

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*norm', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
