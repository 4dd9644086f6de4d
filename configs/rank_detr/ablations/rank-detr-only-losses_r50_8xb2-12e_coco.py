# Both rank-oriented losses, with the network of H-DETR
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(
    decoder=dict(ranking=None),
    bbox_head=dict(_delete_=True, type='LayerwiseHead', num_classes=80))
