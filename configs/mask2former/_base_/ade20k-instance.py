# As ade20k-panoptic.py, for instance segmentation of the 100 things. Official: configs/ade20k/instance-segmentation
_base_ = './coco-instance.py'

crop_size = (640, 640)
data_root = 'data/ADEChallengeData2016/'

data_preprocessor = dict(batch_augments=[
    dict(type='BatchFixedSizePad', size=crop_size, img_pad_value=0, pad_mask=True, mask_pad_value=0, pad_seg=False)])

model = dict(
    data_preprocessor=data_preprocessor,
    panoptic_head=dict(
        num_things_classes=100,
        num_stuff_classes=0,
        loss_cls=dict(class_weight=[1.0] * 100 + [0.1])),
    panoptic_fusion_head=dict(num_things_classes=100, num_stuff_classes=0))

train_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    # shorter side 320 to 1280
    dict(type='RandomChoiceResize', scales=[(int(640 * x * 0.1), 2560) for x in range(5, 21)], resize_type='Resize',
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, crop_type='absolute', recompute_bbox=True, allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-5, 1e-5), by_mask=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(dataset=dict(
    type='ADE20KInstanceDataset',
    data_root=data_root,
    ann_file='ade20k_instance_train.json',
    data_prefix=dict(img='images/training/'),
    pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(
    type='ADE20KInstanceDataset',
    data_root=data_root,
    ann_file='ade20k_instance_val.json',
    data_prefix=dict(img='images/validation/'),
    pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'ade20k_instance_val.json')
test_evaluator = val_evaluator

max_iters = 160000
train_cfg = dict(max_iters=max_iters, val_interval=5000, dynamic_intervals=None)
param_scheduler = dict(_delete_=True, type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=0, end=1.0)
