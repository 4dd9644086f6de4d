# UPerNet as in the paper's comparison; `base` is its B2. All settings here are Swin's, drop path is that of the
# backbone's pretraining.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

weights = ('https://mmassets.onedl.ai/mmclassification/v0/van/'
           'van-base_8xb128_in1k_20220501-6a4cc31b.pth')
model = dict(
    backbone=dict(
        type='MMPretrainBackbone',
        backbone=dict(type='VAN', arch='base', drop_path_rate=0.1),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320))

train_dataloader = dict(batch_size=2)
