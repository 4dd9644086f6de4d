# A small Mask R-CNN with a small DiNAT for the built-in sample data, from scratch, in two processes of one
# CPU core each (--processes 2).
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/shapes_instance_192.py',
    '../_base_/schedules/shapes_adamw.py',
    '../_base_/default_runtime.py',
]

channels = 64
strides = [4, 8, 16, 32]
num_classes = 6
model = dict(
    backbone=dict(
        type='DiNAT',
        arch=dict(embed_dims=24, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), mlp_ratio=2.0, layer_scale=None,
                  patches=False),
        kernel_size=5,
        dilations=[[1, 8], [1, 4], [1, 2], [1, 1]],  # up to half of the map
        drop_path_rate=0.0),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=channels, num_outs=4, norm_cfg=dict(type='BN')),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[5], strides=strides)),  # sides of 20 to 160 pixels
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, featmap_strides=strides, finest_scale=28),
        bbox_head=dict(in_channels=channels, fc_out_channels=256, num_classes=num_classes),
        mask_roi_extractor=dict(out_channels=channels, featmap_strides=strides, finest_scale=28),
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels, num_classes=num_classes)),
    # images of a twentieth of COCO's pixels need fewer regions
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=9, val_interval=9)
default_hooks = dict(checkpoint=dict(interval=9))
