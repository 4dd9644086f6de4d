# Official: detection/configs/dinat_s/cascade_mask_rcnn_dinat_s_base_3x_coco.py
_base_ = './cascade-mask-rcnn_dinat-s-tiny_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(
        arch='s_base',
        drop_path_rate=0.6,
        init_cfg=dict(checkpoint=_base_.weights + 'dinat_s_base_in1k_224.pth')),
    neck=dict(in_channels=[128, 256, 512, 1024]))

optim_wrapper = dict(optimizer=dict(lr=7.5e-5))
