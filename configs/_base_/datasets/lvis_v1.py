# LVIS v1 with boxes and masks, as MMDetection trains on it: rare classes oversampled, shorter side 640 to 800.
_base_ = './coco_instance.py'

data_root = 'data/lvis_v1/'
images = dict(img='')  # a name in the file begins with train2017/ or val2017/

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomChoiceResize', keep_ratio=True,
         scales=[(1333, size) for size in (640, 672, 704, 736, 768, 800)]),
    *_base_.train_pipeline[3:],
]

# the classes are those of the files: 1,203, in the same order in both
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ClassBalancedDataset',
        oversample_thr=1e-3,
        dataset=dict(
            type=_base_.dataset_type,
            data_root=data_root,
            ann_file='annotations/lvis_v1_train.json',
            data_prefix=images,
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=train_pipeline,
            backend_args=_base_.backend_args)))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=_base_.dataset_type,
        data_root=data_root,
        ann_file='annotations/lvis_v1_val.json',
        data_prefix=images,
        test_mode=True,
        pipeline=_base_.test_pipeline,
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='LvisEvaluation',
    ann_file=data_root + 'annotations/lvis_v1_val.json',
    metric=['bbox', 'segm'])
test_evaluator = val_evaluator
