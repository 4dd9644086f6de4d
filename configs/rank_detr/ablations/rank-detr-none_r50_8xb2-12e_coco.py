# No rank-oriented part: H-DETR but for what else the authors' code base changes (epsilons, frozen layers)
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(
    decoder=dict(ranking=None),
    bbox_head=dict(_delete_=True, type='LayerwiseHead', num_classes=80),
    matcher=dict(switch_at=None),
    criterion=dict(loss_class=dict(type='QueryFocalLoss')))
