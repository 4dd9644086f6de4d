# A small DINO for the built-in sample data: the schedule of the small RT-DETR, a deformable encoder instead of its
# hybrid one, and DINO's queries, positions, heads and class loss.
_base_ = '../rt_detr/rtdetr_nano_shapes.py'

model = dict(
    padding_mask=True,
    neck=dict(
        _delete_=True, type='ChannelMapper', in_channels=[32, 64, 128], out_channels=96, kernel_size=1, bias=True,
        norm_cfg=dict(type='GN', num_groups=32), act_cfg=None, num_outs=3),
    encoder=dict(type='DeformableEncoder', num_layers=2, num_heads=4, num_points=2, feedforward_dims=192,
                 temperature=20.0),
    query_selection=dict(content='learned', content_init='xavier'),
    decoder=dict(position=dict(type='SineBoxPosition'), norm=True, eps=1e-3, init='xavier'),
    bbox_head=dict(shared=True),
    denoising=dict(eps=1e-3, centred_padding=True),
    criterion=dict(loss_class=dict(_delete_=True, type='QueryFocalLoss')))
