# Official: detection/configs/dinat/cascade_mask_rcnn_dinat_tiny_3x_coco.py
_base_ = './cascade-mask-rcnn_dinat-mini_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=_base_.weights + 'dinat_tiny_in1k_224.pth')))
