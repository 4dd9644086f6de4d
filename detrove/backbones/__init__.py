"""What backbones share, and those of other libraries under the same contract."""

from .block import AttentionBlock, FeedForward
from .finer_levels import FinerLevels
from .mmpretrain import MMPretrainBackbone
from .patches import PatchEmbedding, PatchMerging
from .staged import (
    PretrainedBackbone,
    Stage,
    StagedBackbone,
    check_frozen_stages,
    check_out_indices,
    drop_path_rates,
    select_arch,
    staged_layer_depth,
)
from .timm import TimmBackbone
from .wrapped import WrappedBackbone

__all__ = [
    'AttentionBlock', 'FeedForward', 'FinerLevels', 'MMPretrainBackbone', 'PatchEmbedding', 'PatchMerging',
    'PretrainedBackbone', 'Stage', 'StagedBackbone', 'TimmBackbone', 'WrappedBackbone', 'check_frozen_stages',
    'check_out_indices', 'drop_path_rates', 'select_arch', 'staged_layer_depth',
]
