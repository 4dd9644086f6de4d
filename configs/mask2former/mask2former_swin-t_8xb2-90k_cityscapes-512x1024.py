_base_ = './_base_/cityscapes-semantic.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='Swin',
        arch='tiny',
        window_size=7,
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=_base_.swin_url + 'swin_tiny_patch4_window7_224.pth')),
    decode_head=dict(in_channels=[96, 192, 384, 768]))
