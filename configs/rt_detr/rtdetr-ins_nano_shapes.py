# The small RT-DETR with instance masks, for the built-in sample data.
_base_ = './rtdetr_nano_shapes.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    *_base_.train_pipeline[2:],
]

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),  # stride 4 is the mask branch's
    mask_branch=dict(
        type='QueryMaskHead',
        in_channels=16,
        criterion=dict(num_points=1024)))  # the maps have 48 x 48 cells

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
