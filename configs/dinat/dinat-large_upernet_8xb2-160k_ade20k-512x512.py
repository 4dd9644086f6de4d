# Official: segmentation/configs/dinat/upernet_dinat_large_640x640_160k_ade20k.py
_base_ = './dinat-mini_upernet_8xb2-160k_ade20k-512x512.py'

weights_22k = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet22k/'
model = dict(
    backbone=dict(
        arch='large',
        dilations='ade20k-large',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=weights_22k + 'dinat_large_in22k_224.pth')),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768))
