# Mask2Former on ADE20K panoptic segmentation (100 things, 50 stuff). MMDetection has the data set and the metric, but
# no training; here are the official settings. Official: configs/ade20k/panoptic-segmentation
_base_ = './coco-panoptic.py'

crop_size = (640, 640)
data_root = 'data/ADEChallengeData2016/'

data_preprocessor = dict(batch_augments=[
    dict(type='BatchFixedSizePad', size=crop_size, img_pad_value=0, pad_mask=True, mask_pad_value=0, pad_seg=True,
         seg_pad_value=255)])

model = dict(
    data_preprocessor=data_preprocessor,
    panoptic_head=dict(
        num_things_classes=100,
        num_stuff_classes=50,
        loss_cls=dict(class_weight=[1.0] * 150 + [0.1])),
    panoptic_fusion_head=dict(num_things_classes=100, num_stuff_classes=50))

train_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='LoadPanopticAnnotations', with_bbox=True, with_mask=True, with_seg=True),
    # shorter side 320 to 1280
    dict(type='RandomChoiceResize', scales=[(int(640 * x * 0.1), 2560) for x in range(5, 21)], resize_type='Resize',
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, crop_type='absolute', recompute_bbox=True, allow_negative_crop=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    dict(type='LoadPanopticAnnotations'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(dataset=dict(
    type='ADE20KPanopticDataset',
    data_root=data_root,
    ann_file='ade20k_panoptic_train.json',
    data_prefix=dict(img='images/training/', seg='ade20k_panoptic_train/'),
    pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(
    type='ADE20KPanopticDataset',
    data_root=data_root,
    ann_file='ade20k_panoptic_val.json',
    data_prefix=dict(img='images/validation/', seg='ade20k_panoptic_val/'),
    pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type='CocoPanopticMetric',
        ann_file=data_root + 'ade20k_panoptic_val.json',
        seg_prefix=data_root + 'ade20k_panoptic_val/')
]
test_evaluator = val_evaluator

max_iters = 160000
train_cfg = dict(max_iters=max_iters, val_interval=5000, dynamic_intervals=None)
param_scheduler = dict(_delete_=True, type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=0, end=1.0)
