# The paper trains UPerNet as Swin does. All settings here are Swin's, drop path is that of Swin-T (0.3).
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

weights = ('https://mmassets.onedl.ai/mmclassification/v0/hornet/'
           'hornet-tiny_3rdparty_in1k_20220915-0e8eedff.pth')
model = dict(
    backbone=dict(
        type='MMPretrainBackbone',
        backbone=dict(type='HorNet', arch='tiny', drop_path_rate=0.3),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))

train_dataloader = dict(batch_size=2)
