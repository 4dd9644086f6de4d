# Cascade Mask R-CNN with a feature pyramid, and with the box heads that Swin and its heirs are published with: four
# convolutions and one linear layer, boxes of every class by GIoU loss. The inheriting file sets `backbone`, with
# outputs of strides 4 to 32, and their channels as `neck.in_channels`.
_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'

bbox_head = dict(
    type='ConvFCBBoxHead',
    num_shared_convs=4,
    num_shared_fcs=1,
    in_channels=256,
    conv_out_channels=256,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=80,
    reg_class_agnostic=False,
    reg_decoded_bbox=True,
    norm_cfg=dict(type='SyncBN', requires_grad=True),  # plain batch norm where training has one process
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    loss_bbox=dict(type='GIoULoss', loss_weight=10.0))

model = dict(
    backbone=dict(_delete_=True),
    neck=dict(in_channels=None),
    roi_head=dict(bbox_head=[
        dict(bbox_head, bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=target_stds))
        for target_stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
    ]))
