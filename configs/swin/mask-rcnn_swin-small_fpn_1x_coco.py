_base_ = './mask-rcnn_swin-tiny_fpn_1x_coco.py'

model = dict(backbone=dict(
    arch='small',
    drop_path_rate=0.2,  # as the authors have it in 36 epochs; they do not train this network for 12
    init_cfg=dict(checkpoint=_base_.swin_url + 'swin_small_patch4_window7_224.pth')))
