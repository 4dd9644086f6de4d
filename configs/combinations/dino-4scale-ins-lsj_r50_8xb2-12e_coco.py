# DINO R50 with instance masks, large-scale jitter and copy-paste (Ghiasi et al., CVPR 2021): images of 0.1 to 2 times
# 1024 x 1024, cropped and padded to it, and objects of another image pasted in. Not trained yet.
_base_ = '../dino/dino-4scale-ins_r50_8xb2-12e_coco.py'

size_wh = (1024, 1024)

load = [
    _base_.train_pipeline[0],
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),  # as bitmaps: outlines cannot be covered
    dict(type='RandomResize', scale=size_wh, ratio_range=(0.1, 2.0), resize_type='SmoothResize', keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute_range', crop_size=size_wh, recompute_bbox=True,
         allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), keep_empty=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=size_wh, pad_val=dict(img=(114, 114, 114))),
]
train_pipeline = [
    dict(type='CopyPaste', max_num_pasted=100),
    dict(type='PackPlanes'),
]
train_dataloader = dict(dataset=dict(
    _delete_=True,
    type='MultiImageMixDataset',
    dataset=dict(
        _base_.train_dataloader.dataset,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=load),
    pipeline=train_pipeline))
