"""nn.Modules that several papers share: attention, decoder, query branches, convolution blocks."""

from .batch_augments import BatchRandomChoiceResize
from .conv import ConvNormAct, RepVGGBlock, build_activation, fuse_for_inference
from .decoder import DecoderOutput, DeformableDecoderLayer, DETRDecoder
from .deformable_attention import MSDeformableAttention
from .denoising import ContrastiveDenoising, DenoisingQueries
from .head import LayerwiseHead
from .mlp import MLP
from .query_branches import QueryBranch
from .query_selection import SelectedQueries, TopKQuerySelection
from .self_attention import BranchSelfAttention
from .targets import BatchTargets, collate_targets

__all__ = [
    'MLP', 'BatchRandomChoiceResize', 'BatchTargets', 'BranchSelfAttention', 'ContrastiveDenoising', 'ConvNormAct',
    'DETRDecoder',
    'DecoderOutput', 'DeformableDecoderLayer', 'DenoisingQueries', 'LayerwiseHead', 'MSDeformableAttention',
    'QueryBranch', 'RepVGGBlock', 'SelectedQueries', 'TopKQuerySelection', 'build_activation', 'collate_targets',
    'fuse_for_inference',
]
