# COCO 2017 as DETR, Deformable DETR and their heirs train on it: shorter side 480 to 800, half of the images cropped
# before.
_base_ = './coco_2017.py'

# (shorter side, bound on the longer side). Pillow's bilinear resizing smooths when it shrinks, as the published models
# were trained and evaluated; OpenCV's does not. In training by PyTorch, within one grey level.
resize = dict(
    type='RandomChoiceResize',
    scales=[(size, 1333) for size in range(480, 801, 32)],
    resize_type='SmoothResize',
    keep_ratio=True)

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='HorizontalFlip', prob=0.5),
    dict(type='RandomChoice', transforms=[
        [resize],
        [
            # The authors resize to these scales before they crop; here one resizing does for both (docs/data_speed.md).
            # No bound on the longer side: no training image is seven times as long as wide.
            dict(type='RandomCropAtScale', scales=[(400, 4200), (500, 4200), (600, 4200)], crop_size=(384, 600),
                 allow_negative_crop=True),
            resize,
        ],
    ]),
    dict(type='PackPlanes'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# one image at a time: the authors evaluate without padding
val_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
