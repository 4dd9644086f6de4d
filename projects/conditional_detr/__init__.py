"""Conditional DETR (Meng et al. 2021): nothing but key maps; the network is the shared one."""

from . import checkpoint, mmdet_checkpoint

__all__ = ['checkpoint', 'mmdet_checkpoint']
