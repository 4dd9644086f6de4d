# Both rank-oriented parts of the network, with the losses of H-DETR
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(
    matcher=dict(switch_at=None),
    criterion=dict(loss_class=dict(type='QueryFocalLoss')))
