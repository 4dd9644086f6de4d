# Rank-DETR R50: H-DETR with ranks, the file that the other Rank-DETR configs inherit from. Official:
# rank_detr_r50_two_stage_12ep.py
_base_ = '../h_detr/h-detr_r50_8xb2-12e_coco.py'

ranks = dict(num_queries=300, num_one_to_many=1500)
model = dict(
    backbone=dict(frozen_stages=0),
    decoder=dict(eps=1e-3, ranking=dict(type='QueryRanking', rank_layer=True, **ranks)),
    bbox_head=dict(type='RankAdaptiveHead', **ranks),
    matcher=dict(type='HighOrderMatcher', iou_power=4.0, switch_at=0.75, iou_eps=1e-6),
    criterion=dict(loss_class=dict(type='QueryGIoUAwareFocalLoss'), quality='giou', iou_eps=1e-6),
    # the encoder's predictions keep the plain focal loss
    encoder_criterion=dict(_base_.model.criterion, iou_eps=1e-6),
    test_cfg=dict(max_per_img=300))
