# Official: relation_detr_focalnet_large_lrf_fl4_1200_2000.py. The authors start from weights of four epochs on
# Objects365 (load_from), and augment images further by albumentations, in their preset strong_album_1200_2000.
_base_ = './relation-detr_r50_8xb2-24e_coco.py'

focalnet_url = 'https://github.com/microsoft/FocalNet/releases/download/v1.0.0/'
model = dict(
    num_levels=5,
    backbone=dict(
        _delete_=True,
        type='FocalNet',
        embed_dims=192,
        depths=(2, 2, 18, 2),
        focal_levels=(4, 4, 4, 4),
        focal_windows=(3, 3, 3, 3),
        normalize_modulator=True,
        drop_path_rate=0.5,
        init_cfg=dict(type='Pretrained', checkpoint=focalnet_url + 'focalnet_large_lrf_384_fl4.pth')),
    neck=dict(in_channels=[192, 384, 768, 1536], num_outs=5),
    denoising=dict(num_queries=1000))

# one and a half times the sizes of the other configs
resize = dict(_base_.resize, scales=[(size * 3 // 2, 2000) for size in range(480, 801, 32)])
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='RandomChoice', transforms=[
        [resize],
        [
            dict(type='RandomCropAtScale', scales=[(600, 6300), (750, 6300), (900, 6300)], crop_size=(576, 900),
                 allow_negative_crop=True),
            resize,
        ],
    ]),
    _base_.train_pipeline[-1],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(_base_.test_pipeline[1], scale=(2000, 1200)),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\..*(norm|bias)', lr_mult=0.1, decay_mult=0.0),
    *_base_.optim_wrapper.paramwise_cfg.groups,
]))
