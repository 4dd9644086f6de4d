# The built-in sample data as semantic maps at 128 x 128, what belongs to no shape as a class of its own: for models
# that train in minutes on a CPU. Where that class is ignored, as in shapes_semantic.py, nothing tells a network where
# shapes end, and small ones from scratch stay at chance for long. Needs default_runtime_seg.py.
_base_ = './shapes_semantic.py'

crop_size = (128, 128)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    # nearly whole images: a shape of which a crop shows a part is often any of several
    dict(type='RandomResize', scale=crop_size, ratio_range=(0.75, 1.15), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=crop_size, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]

train_dataloader = dict(
    num_workers=1, dataset=dict(type='ShapesSegWithBackgroundDataset', pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1, dataset=dict(type='ShapesSegWithBackgroundDataset', pipeline=test_pipeline))
test_dataloader = val_dataloader
