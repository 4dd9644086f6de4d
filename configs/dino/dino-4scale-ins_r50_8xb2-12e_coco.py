# DINO R50 with instance masks: Mask DINO's branch, losses and weights on DINO's queries (docs/instance_masks.md lists
# how Mask DINO itself differs). Not trained yet.
_base_ = './dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),  # stride 4 is the mask branch's
    mask_branch=dict(type='QueryMaskHead', in_channels=256),
    # Mask DINO's: classes keep up with the two losses of masks
    matcher=dict(cost_class=4.0),
    criterion=dict(weight_class=4.0),
    test_cfg=dict(max_per_img=100))  # COCO looks at no more, and masks are large

train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

val_evaluator = dict(metric=['bbox', 'segm'], max_dets=100)
test_evaluator = val_evaluator
