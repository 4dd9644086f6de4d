"""nn.Modules that several papers share: attention, decoder, query branches, convolution blocks."""

from .batch_augments import BatchRandomChoiceResize
from .conditional_decoder_layer import ConditionalDecoderLayer, ConditionalSpatialQuery
from .conv import ConvNormAct, RepVGGBlock, build_activation, fuse_for_inference
from .cpu_conv import CPUConv2d, use_channels_last
from .decoder import DecoderOutput, DETRDecoder
from .decoder_layer import DeformableDecoderLayer
from .deformable_attention import MSDeformableAttention
from .denoising import ContrastiveDenoising
from .dense_encoder import DenseEncoder
from .encoder import DeformableEncoder
from .head import LayerwiseHead
from .mask_head import QueryMaskHead
from .memory import Memory, flatten_levels
from .mlp import MLP
from .query_branches import BranchQueries, GroupBranch, OneToManyBranch, QueryBranch
from .query_position import BoxPosition, SineBoxPosition
from .query_selection import LearnedQueries, SelectedQueries, TopKQuerySelection
from .self_attention import BranchSelfAttention
from .targets import BatchTargets, collate_targets

__all__ = [
    'BatchRandomChoiceResize', 'BatchTargets', 'BoxPosition', 'BranchQueries', 'BranchSelfAttention', 'CPUConv2d',
    'ConditionalDecoderLayer', 'ConditionalSpatialQuery', 'ContrastiveDenoising', 'ConvNormAct', 'DETRDecoder',
    'DecoderOutput', 'DeformableDecoderLayer', 'DeformableEncoder', 'DenseEncoder', 'GroupBranch', 'LayerwiseHead',
    'LearnedQueries', 'MLP', 'MSDeformableAttention', 'Memory', 'OneToManyBranch', 'QueryBranch', 'QueryMaskHead',
    'RepVGGBlock', 'SelectedQueries', 'SineBoxPosition', 'TopKQuerySelection', 'build_activation', 'collate_targets',
    'flatten_levels', 'fuse_for_inference', 'use_channels_last',
]
