# Rank-DETR without the high-order matching cost
_base_ = '../rank-detr_r50_8xb2-12e_coco.py'

model = dict(matcher=dict(switch_at=None))
