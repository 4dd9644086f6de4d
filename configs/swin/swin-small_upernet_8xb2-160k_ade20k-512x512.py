# Official: upernet_swin_small_patch4_window7_512x512_160k_ade20k.py
_base_ = './swin-tiny_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(
    arch='small', init_cfg=dict(checkpoint=_base_.swin_url + 'swin_small_patch4_window7_224.pth')))
