# COCO 2017 with instance masks, the shorter side 480 to 800, half of the images cropped before, as Swin and its heirs
# are trained. coco_detr.py is DETR's, which resizes by Pillow and does not bound the longer side before the crop.
_base_ = './coco_instance.py'

resize = dict(type='RandomChoiceResize', scales=[(1333, size) for size in range(480, 801, 32)], keep_ratio=True)

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomChoice', transforms=[
        [resize],
        [
            dict(resize, scales=[(1333, 400), (1333, 500), (1333, 600)]),
            dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600), allow_negative_crop=True),
            resize,
        ],
    ]),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
