# Without what the official code adds and the paper does not name.
_base_ = '../relation-detr_r50_8xb2-12e_coco.py'

model = dict(encoder=dict(fusion=None), decoder=dict(position=dict(scaled=False)))

optim_wrapper = dict(paramwise_cfg=dict(groups=[
    dict(match=r'^neck\..*\.gn\.weight$') if 'fusion' in group.match else group
    for group in _base_.optim_wrapper.paramwise_cfg.groups
]))
