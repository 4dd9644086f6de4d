# weights from ImageNet-22k
_base_ = './mask2former_swin-b_8xb2-160k_ade20k-640x640.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint=_base_.swin_url + 'swin_large_patch4_window12_384_22k.pth')),
    decode_head=dict(in_channels=[192, 384, 768, 1536]))
