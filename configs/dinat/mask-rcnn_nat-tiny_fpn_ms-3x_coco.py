# Official: detection/configs/nat/mask_rcnn_nat_tiny_3x_coco.py
_base_ = './mask-rcnn_nat-mini_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='tiny', init_cfg=dict(checkpoint=_base_.weights + 'nat_tiny.pth')))
