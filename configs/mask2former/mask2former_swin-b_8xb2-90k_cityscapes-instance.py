# weights from ImageNet-22k
_base_ = './mask2former_swin-t_8xb2-90k_cityscapes-instance.py'

model = dict(
    backbone=dict(
        arch='base',
        window_size=12,
        init_cfg=dict(checkpoint=_base_.swin_url + 'swin_base_patch4_window12_384_22k.pth')),
    panoptic_head=dict(in_channels=[128, 256, 512, 1024]))
