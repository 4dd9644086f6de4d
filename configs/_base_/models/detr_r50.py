# What Deformable DETR and its heirs start from: ResNet-50 with a frozen stem, four feature levels, images of different
# sizes in a batch. Encoder, queries, decoder and losses are the papers'.
model = dict(
    type='OneDETR',
    embed_dims=256,
    num_levels=4,
    padding_mask=True,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(
        type='ChannelMapper',
        in_channels=[512, 1024, 2048],
        out_channels=256,
        kernel_size=1,
        bias=True,
        norm_cfg=dict(type='GN', num_groups=32),
        act_cfg=None,
        num_outs=4))
