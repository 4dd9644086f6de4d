# Official: segmentation/configs/dinat/upernet_dinat_mini_512x512_160k_ade20k.py
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

weights = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet1k/'
model = dict(
    backbone=dict(
        type='DiNAT',
        arch='mini',
        dilations='ade20k',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'dinat_mini_in1k_224.pth')),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))

train_dataloader = dict(batch_size=2)
