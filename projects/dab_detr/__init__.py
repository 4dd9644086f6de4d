"""DAB-DETR and DAB-Deformable-DETR (Liu et al. 2022): nothing but key maps; the network is the shared one."""

from . import checkpoint, mmdet_checkpoint

__all__ = ['checkpoint', 'mmdet_checkpoint']
