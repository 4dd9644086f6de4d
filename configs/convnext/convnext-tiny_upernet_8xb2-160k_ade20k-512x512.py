# Official: semantic_segmentation/configs/convnext/upernet_convnext_tiny_512_160k_ade20k_ss.py, as MMSegmentation has
# it. There the rate falls from stage to stage, with six steps; here from layer to layer, with the same number of
# them.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/ade20k_160k.py',
]

weights = ('https://mmassets.onedl.ai/mmclassification/v0/convnext/downstream/'
           'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth')
model = dict(
    backbone=dict(
        type='MMPretrainBackbone',
        backbone=dict(type='ConvNeXt', arch='tiny', drop_path_rate=0.4, layer_scale_init_value=1.0),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))

train_dataloader = dict(batch_size=2)

optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay=dict(rate=0.9),
        groups=[dict(match='', ndim=1, decay_mult=0.0)]))
