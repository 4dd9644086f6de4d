# A small Mask2Former with a small Swin for the built-in sample data: MMDetection's head on this project's backbone and
# operators, narrowed; instance masks, from scratch, in two processes of one CPU core each (--processes 2).
_base_ = [
    '../_base_/datasets/shapes_instance_192.py',
    '../_base_/schedules/shapes_adamw.py',
    '../_base_/default_runtime.py',
]

dims = 64
num_classes = 6
heads = dict(embed_dims=dims, num_heads=4, dropout=0.0, batch_first=True)
feed_forward = dict(embed_dims=dims, num_fcs=2, ffn_drop=0.0, act_cfg=dict(type='ReLU', inplace=True))
model = dict(
    type='Mask2FormerDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        pad_mask=True),
    backbone=dict(
        type='Swin',
        arch=dict(embed_dims=32, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8)),
        window_size=6,  # the maps have 48, 24, 12 and 6 tokens a side
        drop_path_rate=0.0),
    panoptic_head=dict(
        type='Mask2FormerHead',
        in_channels=[32, 64, 128, 256],
        strides=[4, 8, 16, 32],
        feat_channels=dims,
        out_channels=dims,
        num_things_classes=num_classes,
        num_stuff_classes=0,
        num_queries=30,
        num_transformer_feat_level=3,
        pixel_decoder=dict(
            type='MSDeformAttnPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=dict(num_levels=3, num_points=4, **heads),
                    ffn_cfg=dict(feedforward_channels=2 * dims, **feed_forward))),
            positional_encoding=dict(num_feats=dims // 2, normalize=True)),
        enforce_decoder_input_project=False,
        positional_encoding=dict(num_feats=dims // 2, normalize=True),
        transformer_decoder=dict(
            return_intermediate=True,
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=heads,
                cross_attn_cfg=heads,
                ffn_cfg=dict(feedforward_channels=4 * dims, **feed_forward)),
            init_cfg=None),
        loss_cls=dict(
            type='CrossEntropyLoss',
            use_sigmoid=False,
            loss_weight=2.0,
            reduction='mean',
            class_weight=[1.0] * num_classes + [0.1]),
        loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='mean', loss_weight=5.0),
        loss_dice=dict(
            type='DiceLoss', use_sigmoid=True, activate=True, reduction='mean', naive_dice=True, eps=1.0,
            loss_weight=5.0)),
    panoptic_fusion_head=dict(
        type='MaskFormerFusionHead', num_things_classes=num_classes, num_stuff_classes=0, loss_panoptic=None),
    train_cfg=dict(
        num_points=1024,  # the masks have 48 x 48 cells
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        assigner=dict(
            type='HungarianAssigner',
            match_costs=[
                dict(type='ClassificationCost', weight=2.0),
                dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
                dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0)
            ]),
        sampler=dict(type='MaskPseudoSampler')),
    test_cfg=dict(panoptic_on=False, semantic_on=False, instance_on=True, max_per_image=30))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=12)
optim_wrapper = dict(optimizer=dict(lr=1.4e-3), paramwise_cfg=dict(groups=[
    dict(match=r'norm|\.gn\.|relative_position_bias_table|query_embed|query_feat|level_embed', decay_mult=0.0)
]))
default_hooks = dict(checkpoint=dict(interval=12))
