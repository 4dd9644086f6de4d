# Official: detection/configs/dinat_s/cascade_mask_rcnn_dinat_s_small_3x_coco.py
_base_ = './cascade-mask-rcnn_dinat-s-tiny_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(
        arch='s_small',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=_base_.weights + 'dinat_s_small_in1k_224.pth')))
