# Official: segmentation/configs/nat/upernet_nat_tiny_512x512_160k_ade20k.py
_base_ = './nat-mini_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.3, init_cfg=dict(checkpoint=_base_.weights + 'nat_tiny.pth')))
