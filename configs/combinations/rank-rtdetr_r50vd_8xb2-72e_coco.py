# RT-DETR with Rank-DETR's head, rank layer, class loss and matching; denoising queries keep their order.
_base_ = '../rt_detr/rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
    decoder=dict(ranking=dict(type='QueryRanking', num_queries=300)),
    bbox_head=dict(type='RankAdaptiveHead', num_queries=300),
    matcher=dict(type='HighOrderMatcher'),
    criterion=dict(loss_class=dict(_delete_=True, type='QueryGIoUAwareFocalLoss'), weight_class=2.0, quality='giou'),
    encoder_criterion=_base_.model.criterion)
