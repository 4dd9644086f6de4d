# weights from ImageNet-22k
_base_ = './mask2former_swin-b_8xb2-90k_cityscapes-panoptic.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint=_base_.swin_url + 'swin_large_patch4_window12_384_22k.pth')),
    panoptic_head=dict(num_queries=200, in_channels=[192, 384, 768, 1536]))
