# RT-DETR with everything: ranked queries, position relation, groups and, from RT-DETR itself, denoising.
# Each part goes by a setting of None, see docs/combining.md.
_base_ = './rank-rtdetr_r50vd_8xb2-72e_coco.py'

model = dict(
    decoder=dict(relation=dict(type='PositionRelation')),
    groups=dict(type='GroupBranch', num_groups=11))
