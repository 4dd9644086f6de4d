# RT-DETR R50 with instance masks. The detector and its schedule are the official ones; the mask branch is Mask DINO's
# (docs/instance_masks.md). Not trained yet. A detector's weights may be a start: load_from takes the official files.
_base_ = './rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),  # stride 4 is the mask branch's
    mask_branch=dict(type='QueryMaskHead', in_channels=256),
    test_cfg=dict(max_per_img=100))  # COCO looks at no more, and masks are large

train_pipeline = [
    _base_.train_pipeline[0],
    # outlines stay outlines until the batch is made: bitmaps on a canvas of four times the size are slow
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

val_evaluator = dict(metric=['bbox', 'segm'], max_dets=100)
test_evaluator = val_evaluator
