"""Group DETR (Chen et al. 2023): nothing of its own; the groups are `detrove.layers.GroupBranch`.

Official checkpoints are Conditional DETR's with a longer table of queries and are read by `projects/conditional_detr`.
"""
