# UPerNet with a fully convolutional auxiliary head on stride 16. The inheriting file sets `backbone`, with outputs of
# strides 4 to 32, `decode_head.in_channels` (of all four) and `auxiliary_head.in_channels` (of the third); another crop
# of the training images than 512 also goes to `data_preprocessor.size`.
_base_ = 'mmseg::_base_/models/upernet_r50.py'

# The norms of the heads are SyncBN, which is plain batch norm where training has one process.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_delete_=True),
    decode_head=dict(in_channels=None, num_classes=150),
    auxiliary_head=dict(in_channels=None, num_classes=150))
