# Official: segmentation/configs/nat/upernet_nat_mini_512x512_160k_ade20k.py
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

weights = 'https://shi-labs.com/projects/nat/checkpoints/CLS/'
model = dict(
    backbone=dict(
        type='NAT',
        arch='mini',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'nat_mini.pth')),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))

train_dataloader = dict(batch_size=2)
