# DINO whose layers learn from their own boxes alone
_base_ = '../dino-4scale_r50_8xb2-12e_coco.py'

model = dict(decoder=dict(look_forward_twice=False))
