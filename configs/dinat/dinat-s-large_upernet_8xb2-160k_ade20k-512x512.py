# Official: segmentation/configs/dinat_s/upernet_dinat_s_large_640x640_160k_ade20k.py
_base_ = './dinat-s-tiny_upernet_8xb2-160k_ade20k-512x512.py'

weights_22k = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet22k/'
model = dict(
    backbone=dict(
        arch='s_large',
        dilations='ade20k-large',
        init_cfg=dict(checkpoint=weights_22k + 'dinat_s_large_in22k_224.pth')),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768))
