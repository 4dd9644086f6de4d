# Two rounds of the three feature levels instead of three: as many decoder layers as MaskFormer has
_base_ = './mask2former_r50_8xb2-lsj-50e_coco.py'

model = dict(panoptic_head=dict(transformer_decoder=dict(num_layers=6)))
