_base_ = './mask-rcnn_cswin-tiny_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=_base_.weights + 'cswin_small_224.pth')))
