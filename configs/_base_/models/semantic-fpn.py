# Semantic FPN. The inheriting file sets `backbone`, with outputs of strides 4 to 32, and their channels as
# `neck.in_channels`.
_base_ = 'mmseg::_base_/models/fpn_r50.py'

# The norms of the head are SyncBN, which is plain batch norm where training has one process.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_delete_=True),
    neck=dict(in_channels=None),
    decode_head=dict(num_classes=150))
