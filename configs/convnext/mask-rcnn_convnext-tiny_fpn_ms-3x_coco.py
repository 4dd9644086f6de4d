# Official:
# object_detection/configs/convnext/mask_rcnn_convnext_tiny_patch4_window7_mstrain_480-800_adamw_3x_coco_in1k.py, as
# MMDetection has it in configs/convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/3x_adamw.py',
    '../_base_/default_runtime.py',
]

weights = ('https://mmassets.onedl.ai/mmclassification/v0/convnext/downstream/'
           'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth')
model = dict(
    backbone=dict(
        type='MMPretrainBackbone',
        backbone=dict(type='ConvNeXt', arch='tiny', drop_path_rate=0.4, layer_scale_init_value=1.0),
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=weights)),
    neck=dict(in_channels=[96, 192, 384, 768]))

# Earlier layers learn more slowly, and no tensor of one dimension decays.
optim_wrapper = dict(paramwise_cfg=dict(
    _delete_=True,
    layer_decay=dict(rate=0.95),
    groups=[dict(match='', ndim=1, decay_mult=0.0)]))
param_scheduler = [dict(_base_.param_scheduler[0], end=1000), _base_.param_scheduler[1]]  # a longer warm-up
