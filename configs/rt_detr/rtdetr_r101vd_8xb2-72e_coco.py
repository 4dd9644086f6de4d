# Official: rtdetr_r101vd_6x_coco.yml
_base_ = './rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint=_base_.backbone_url + 'ResNet101_vd_ssld_pretrained_from_paddle.pth')),
    neck=[
        dict(type='HybridEncoder', in_channels=[512, 1024, 2048], embed_dims=384, feedforward_dims=2048,
             expansion=1.0),
        dict(_base_.model.neck[1], in_channels=[384, 384, 384]),
    ])

# A hundredth for the backbone; unlike the smaller models every other parameter decays, norms and biases too.
optim_wrapper = dict(paramwise_cfg=dict(groups=[dict(match=r'^backbone\.', lr_mult=0.01)]))
