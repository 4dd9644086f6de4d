"""Relation-DETR (Hou et al. 2024)."""

from . import checkpoint
from .focalnet import FocalNet
from .initialisation import RelationDETRInit
from .memory_fusion import MemoryFusion
from .position_relation import PositionRelation

__all__ = ['FocalNet', 'MemoryFusion', 'PositionRelation', 'RelationDETRInit', 'checkpoint']
