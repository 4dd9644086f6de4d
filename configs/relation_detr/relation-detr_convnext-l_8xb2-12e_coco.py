# Official: relation_detr_convnext_l_800_1333.py, of which neither weights nor a result are published
_base_ = './relation-detr_r50_8xb2-12e_coco.py'

convnext_url = 'https://download.openmmlab.com/mmclassification/v0/convnext/'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='large',
        out_indices=(1, 2, 3),
        frozen_stages=1,
        drop_path_rate=0.5,
        gap_before_final_norm=False,
        init_cfg=dict(type='Pretrained', prefix='backbone.',
                      checkpoint=convnext_url + 'convnext-large_3rdparty_64xb64_in1k_20220124-f8a0ded0.pth')),
    neck=dict(in_channels=[384, 768, 1536]))

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|bias)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
