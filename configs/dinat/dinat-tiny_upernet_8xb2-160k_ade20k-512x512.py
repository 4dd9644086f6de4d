# Official: segmentation/configs/dinat/upernet_dinat_tiny_512x512_160k_ade20k.py
_base_ = './dinat-mini_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=_base_.weights + 'dinat_tiny_in1k_224.pth')))
