# RT-DETR R18 with YOLOX's Mosaic and MixUp in place of zoom-out and IoU crop. Not trained yet.
_base_ = '../rt_detr/rtdetr_r18vd_8xb2-72e_coco.py'

size_wh = (640, 640)
load, colours, last = _base_.train_pipeline[:2], _base_.train_pipeline[2], _base_.train_pipeline[5:]

train_pipeline = [
    dict(type='Mosaic', img_scale=size_wh, pad_val=114.0),
    dict(type='RandomAffine', scaling_ratio_range=(0.1, 2), border=(-320, -320)),  # back to 640 x 640
    dict(type='MixUp', img_scale=size_wh, ratio_range=(0.8, 1.6), pad_val=114.0),
    colours,
    *last,
]
train_dataloader = dict(dataset=dict(
    _delete_=True,
    type='MultiImageMixDataset',
    dataset=dict(_base_.train_dataloader.dataset, pipeline=load),
    pipeline=train_pipeline))
