# COCO 2017 as RT-DETR trains on it: strong augmentation, then 640 x 640 whatever the image's shape.
# Pixels become RGB in [0, 1] in the model's data preprocessor: mean 0, std 255, bgr_to_rgb.
_base_ = './coco_2017.py'

image_size = (640, 640)  # width, height

# Pillow's bilinear resizing smooths when it shrinks, as the published models were trained and evaluated;
# OpenCV's does not. In training by PyTorch, within one grey level.
resize = dict(type='Resize', scale=image_size, keep_ratio=False, backend='pillow')

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomPhotometricDistort', prob=0.5),
    dict(type='RandomZoomOut', prob=0.5),
    dict(type='RandomIoUCrop', prob=0.8),
    dict(type='SanitizeBoxes'),
    dict(type='HorizontalFlip', prob=0.5),
    dict(type='SmoothResize', scale=image_size, keep_ratio=False),
    dict(type='SanitizeBoxes'),
    dict(type='PackPlanes'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
