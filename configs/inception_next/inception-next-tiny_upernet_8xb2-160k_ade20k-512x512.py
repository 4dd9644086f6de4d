# The paper trains UPerNet as Swin does, whose settings these are, drop path that of Swin-T (0.3).
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

model = dict(
    backbone=dict(
        type='TimmBackbone',
        model_name='inception_next_tiny',
        pretrained=True,
        drop_path_rate=0.3),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))

train_dataloader = dict(batch_size=2)
