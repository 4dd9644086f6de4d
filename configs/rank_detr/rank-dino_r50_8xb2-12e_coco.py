# DINO with ranks, as the paper reports it; the authors published no code for it. Denoising queries keep their order.
_base_ = '../dino/dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    decoder=dict(ranking=dict(type='QueryRanking', num_queries=900, rank_layer=True)),
    bbox_head=dict(type='RankAdaptiveHead', num_queries=900),
    matcher=dict(type='HighOrderMatcher', iou_power=4.0, switch_at=0.75),
    criterion=dict(loss_class=dict(type='QueryGIoUAwareFocalLoss'), quality='giou'),
    encoder_criterion=_base_.model.criterion)
