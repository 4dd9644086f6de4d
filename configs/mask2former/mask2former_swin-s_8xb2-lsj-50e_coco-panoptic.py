_base_ = './mask2former_swin-t_8xb2-lsj-50e_coco-panoptic.py'

model = dict(backbone=dict(
    arch='small', init_cfg=dict(checkpoint=_base_.swin_url + 'swin_small_patch4_window7_224.pth')))
