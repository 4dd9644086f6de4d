# The official repository has the weights of this schedule but not the schedule: the rate drops at the same fraction.
_base_ = './relation-detr_r50_8xb2-12e_coco.py'

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs)
