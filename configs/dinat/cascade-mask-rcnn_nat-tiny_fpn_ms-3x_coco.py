# Official: detection/configs/nat/cascade_mask_rcnn_nat_tiny_3x_coco.py
_base_ = './cascade-mask-rcnn_nat-mini_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.3, init_cfg=dict(checkpoint=_base_.weights + 'nat_tiny.pth')))
