_base_ = './mask2former_swin-t_8xb2-160k_ade20k-panoptic.py'

model = dict(backbone=dict(
    arch='small', init_cfg=dict(checkpoint=_base_.swin_url + 'swin_small_patch4_window7_224.pth')))
