# Official: segmentation/configs/dinat_s/upernet_dinat_s_tiny_512x512_160k_ade20k.py
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

weights = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet1k/'
model = dict(
    backbone=dict(
        type='DiNAT',
        arch='s_tiny',
        dilations='ade20k',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=weights + 'dinat_s_tiny_in1k_224.pth')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))

train_dataloader = dict(batch_size=2)
