# Official: detection/configs/dinat/cascade_mask_rcnn_dinat_large_3x_coco.py
_base_ = './cascade-mask-rcnn_dinat-mini_fpn_ms-3x_coco.py'

weights_22k = 'https://shi-labs.com/projects/dinat/checkpoints/imagenet22k/'
model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.6,
        init_cfg=dict(checkpoint=weights_22k + 'dinat_large_in22k_224.pth')),
    neck=dict(in_channels=[192, 384, 768, 1536]))

optim_wrapper = dict(optimizer=dict(lr=7.5e-5))
