# The rank-adaptive classification head alone
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(
    decoder=dict(ranking=dict(rank_layer=False)),
    matcher=dict(switch_at=None),
    criterion=dict(loss_class=dict(type='QueryFocalLoss')))
