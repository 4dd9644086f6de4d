"""H-DETR (Jia et al. 2023): a one-to-many branch on two-stage Deformable DETR, all of it shared parts.

Its official checkpoints have the layout of Deformable DETR's and are read by `detrove.projects.deformable_detr`.
"""
