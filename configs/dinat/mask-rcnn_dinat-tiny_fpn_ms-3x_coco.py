# Official: detection/configs/dinat/mask_rcnn_dinat_tiny_3x_coco.py
_base_ = './mask-rcnn_dinat-mini_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='tiny', init_cfg=dict(checkpoint=_base_.weights + 'dinat_tiny_in1k_224.pth')))
