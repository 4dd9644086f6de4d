# DINO with everything: ranked queries, position relation, groups and, from DINO itself, denoising.
# Each part goes by a setting of None, see docs/combining.md.
_base_ = '../rank_detr/rank-dino_r50_8xb2-12e_coco.py'

model = dict(
    decoder=dict(relation=dict(type='PositionRelation')),
    groups=dict(type='GroupBranch', num_groups=11))
