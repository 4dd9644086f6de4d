# Faster R-CNN with a feature pyramid, as published for ResNet. The inheriting file sets `backbone`, with outputs of
# strides 4 to 32, and their channels as `neck.in_channels`.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

model = dict(backbone=dict(_delete_=True), neck=dict(in_channels=None))
