# Official: segmentation/configs/dinat/upernet_dinat_base_512x512_160k_ade20k.py
_base_ = './dinat-mini_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=_base_.weights + 'dinat_base_in1k_224.pth')),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
