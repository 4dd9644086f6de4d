# Mask2Former on Cityscapes instance segmentation, with the COCO json that mmdet's converter writes. Official:
# configs/cityscapes/instance-segmentation
_base_ = './coco-instance.py'

crop_hw = (512, 1024)
data_root = 'data/cityscapes/'

data_preprocessor = dict(batch_augments=[
    dict(type='BatchFixedSizePad', size=crop_hw, img_pad_value=0, pad_mask=True, mask_pad_value=0, pad_seg=False)])

model = dict(
    data_preprocessor=data_preprocessor,
    panoptic_head=dict(
        num_things_classes=8,
        num_stuff_classes=0,
        loss_cls=dict(class_weight=[1.0] * 8 + [0.1])),
    panoptic_fusion_head=dict(num_things_classes=8, num_stuff_classes=0))

train_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    # shorter side 512 to 2048
    dict(type='RandomChoiceResize', scales=[(int(1024 * x * 0.1), 4096) for x in range(5, 21)], resize_type='Resize',
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_hw[::-1], crop_type='absolute', recompute_bbox=True,
         allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-5, 1e-5), by_mask=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='Resize', scale=(2048, 1024), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(dataset=dict(
    type='CityscapesDataset',
    data_root=data_root,
    ann_file='annotations/instancesonly_filtered_gtFine_train.json',
    data_prefix=dict(img='leftImg8bit/train/'),
    pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(
    type='CityscapesDataset',
    data_root=data_root,
    ann_file='annotations/instancesonly_filtered_gtFine_val.json',
    data_prefix=dict(img='leftImg8bit/val/'),
    pipeline=test_pipeline))
test_dataloader = val_dataloader

# COCO's AP; the AP of Cityscapes, which papers report, needs its package: add dict(type='CityScapesMetric',
# seg_prefix=data_root + 'gtFine/val', outfile_prefix='work_dirs/cityscapes')
val_evaluator = dict(ann_file=data_root + 'annotations/instancesonly_filtered_gtFine_val.json')
test_evaluator = val_evaluator

max_iters = 90000
train_cfg = dict(max_iters=max_iters, val_interval=5000, dynamic_intervals=None)
param_scheduler = dict(_delete_=True, type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=0, end=1.0)
