# As dino-4scale-mmdet_r50_8xb2-12e_coco.py
_base_ = './dino-5scale_swin-l_8xb2-12e_coco.py'

model = dict(
    neck=dict(bias='auto'),
    decoder=dict(position=dict(num_feats=256)),
    bbox_head=dict(shared=False),
    matcher=dict(iou_eps=0.0),
    criterion=dict(iou_eps=0.0))
