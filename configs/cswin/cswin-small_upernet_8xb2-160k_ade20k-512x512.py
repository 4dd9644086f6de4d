# Official: segmentation/configs/cswin/upernet_cswin_small.py
_base_ = './cswin-tiny_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=_base_.weights + 'cswin_small_224.pth')))
