# The small RT-DETR with Rank-DETR's head, rank layer, class loss and matching.
_base_ = '../rt_detr/rtdetr_nano_shapes.py'

model = dict(
    decoder=dict(ranking=dict(type='QueryRanking', num_queries=100)),
    bbox_head=dict(type='RankAdaptiveHead', num_queries=100),
    matcher=dict(type='HighOrderMatcher'),
    criterion=dict(loss_class=dict(_delete_=True, type='QueryGIoUAwareFocalLoss'), quality='giou'),
    encoder_criterion=_base_.model.criterion)
