# Swin-L from 22,000 classes, in the paper on crops of 640 x 640; no official config is published.
_base_ = './swin-base-22k_upernet_8xb2-160k_ade20k-640x640.py'

model = dict(
    backbone=dict(arch='large', init_cfg=dict(checkpoint=_base_.swin_url + 'swin_large_patch4_window7_224_22k.pth')),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768))
