# As the paper describes it and the official file is called; what that file inherits are crops of 512.
_base_ = './dinat-large_upernet_8xb2-160k_ade20k-512x512.py'

crop_size = (640, 640)
model = dict(data_preprocessor=dict(size=crop_size))

scale = (2560, 640)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(_base_.train_pipeline[2], scale=scale),
    dict(_base_.train_pipeline[3], crop_size=crop_size),
    *_base_.train_pipeline[4:],
]
test_pipeline = [_base_.test_pipeline[0], dict(_base_.test_pipeline[1], scale=scale), *_base_.test_pipeline[2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
