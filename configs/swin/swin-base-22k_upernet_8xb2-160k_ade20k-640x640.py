# Swin-B from 22,000 classes, in the paper on crops of 640 x 640; no official config is published.
_base_ = [
    '../_base_/models/upernet.py', '../_base_/datasets/ade20k_640x640.py', '../_base_/schedules/ade20k_160k.py',
]

swin_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        type='Swin',
        arch='base',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=swin_url + 'swin_base_patch4_window7_224_22k.pth')),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))

train_dataloader = dict(batch_size=2)
