# A small Rank-DETR for the built-in sample data.
_base_ = '../h_detr/h-detr_nano_shapes.py'

ranks = dict(num_queries=100, num_one_to_many=200)
model = dict(
    decoder=dict(eps=1e-3, ranking=dict(type='QueryRanking', **ranks)),
    bbox_head=dict(type='RankAdaptiveHead', **ranks),
    matcher=dict(type='HighOrderMatcher'),
    criterion=dict(loss_class=dict(type='QueryGIoUAwareFocalLoss'), quality='giou'),
    encoder_criterion=_base_.model.criterion)
