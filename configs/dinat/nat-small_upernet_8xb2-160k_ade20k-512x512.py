# Official: segmentation/configs/nat/upernet_nat_small_512x512_160k_ade20k.py
_base_ = './nat-mini_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.5, init_cfg=dict(checkpoint=_base_.weights + 'nat_small.pth')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
