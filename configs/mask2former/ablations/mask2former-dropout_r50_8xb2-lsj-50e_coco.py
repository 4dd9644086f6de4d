# Row "- remove dropout" of the paper's table 4 (b): with MaskFormer's dropout in the transformer decoder
_base_ = './mask2former_r50_8xb2-lsj-50e_coco.py'

model = dict(panoptic_head=dict(transformer_decoder=dict(layer_cfg=dict(
    self_attn_cfg=dict(dropout=0.1),
    cross_attn_cfg=dict(dropout=0.1),
    ffn_cfg=dict(ffn_drop=0.1)))))
