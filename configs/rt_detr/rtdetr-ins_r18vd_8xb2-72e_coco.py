# As rtdetr-ins_r50vd_8xb2-72e_coco.py
_base_ = './rtdetr_r18vd_8xb2-72e_coco.py'

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),  # stride 4 is the mask branch's
    mask_branch=dict(type='QueryMaskHead', in_channels=64),
    test_cfg=dict(max_per_img=100))

train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

val_evaluator = dict(metric=['bbox', 'segm'], max_dets=100)
test_evaluator = val_evaluator
