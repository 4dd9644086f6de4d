# DINO with the position relation and nothing else of Relation-DETR. Official: dino_pp_resnet50_800_1333.py
_base_ = './relation-detr_r50_8xb2-12e_coco.py'

model = dict(
    encoder=dict(fusion=None),
    decoder=dict(position=dict(scaled=False)),
    one_to_many=None,
    criterion=dict(loss_class=dict(_delete_=True, type='QueryFocalLoss', alpha=0.25, gamma=2.0)))

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^backbone\.', lr_mult=0.1),
    dict(match=r'sampling_offsets\.bias$', lr_mult=0.1, decay_mult=0.0),
    dict(match=r'sampling_offsets\.', lr_mult=0.1),
    dict(match=r'^neck\..*\.gn\.weight$'),
    dict(match=r'norm|bias', decay_mult=0.0),
]))
