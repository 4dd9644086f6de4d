"""RT-DETR and RT-DETRv2 (Zhao et al. 2024; Lv et al. 2024)."""

from . import checkpoint
from .hybrid_encoder import HybridEncoder, IntraScaleEncoder
from .path_aggregation import PathAggregationEncoder
from .resnet_vd import ResNetVD

__all__ = ['HybridEncoder', 'IntraScaleEncoder', 'PathAggregationEncoder', 'ResNetVD', 'checkpoint']
