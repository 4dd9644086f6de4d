# DINO as MMDetection has it, for its checkpoints: heads of its own for each decoder layer, no bias in the neck, sine
# embeddings of boxes twice as wide, no epsilon in the IoU
_base_ = './dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    neck=dict(bias='auto'),
    decoder=dict(position=dict(num_feats=256)),
    bbox_head=dict(shared=False),
    matcher=dict(iou_eps=0.0),
    criterion=dict(iou_eps=0.0))
