"""Key maps from the official checkpoints of DAB-DETR and DAB-Deformable-DETR."""

from torch import nn

from detrove.checkpoints import register_converter, rename_keys
from detrove.checkpoints.conditional_layout import KEY_MAP as CONDITIONAL_LAYOUT
from detrove.checkpoints.conditional_layout import divide_among_groups
from detrove.checkpoints.deformable_layout import KEY_MAP as DEFORMABLE_LAYOUT
from detrove.checkpoints.deformable_layout import mark_extra_levels

QUERIES = (
    (r'refpoint_embed\.', 'query_selection.anchors.'),
    (r'tgt_embed\.', 'query_selection.content.'),
    (r'transformer\.decoder\.ref_point_head\.', 'decoder.position.mlp.'),
)


@register_converter('DAB-DETR (IDEA-Research/DAB-DETR)',
                    marks=('transformer.decoder.layers.0.ca_qpos_sine_proj.weight', 'refpoint_embed.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict of DAB-DETR in place.

    Raises:
        ValueError: if the checkpoint has several patterns for each anchor, which models here do not have.
    """
    if 'transformer.patterns.weight' in state_dict:
        patterns = len(state_dict['transformer.patterns.weight'])
        raise ValueError(f'the checkpoint decodes {patterns} patterns for each anchor (num_patterns={patterns}); only '
                         f'models with num_patterns=0 can be read.')
    rename_keys(state_dict, (*QUERIES, *CONDITIONAL_LAYOUT))
    divide_among_groups(state_dict, 'anchors', model)


@register_converter('DAB-Deformable-DETR (IDEA-Research/DAB-DETR)',
                    marks=('tgt_embed.weight', 'refpoint_embed.weight', 'class_embed.0.weight',
                           'transformer.encoder.layers.0.self_attn.value_proj.weight'))
def convert_official_deformable(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict of DAB-Deformable-DETR in place."""
    mark_extra_levels(state_dict)
    rename_keys(state_dict, (
        *QUERIES,
        (r'transformer\.decoder\.query_scale\.', 'decoder.position.scale.'),
        *DEFORMABLE_LAYOUT))
    divide_among_groups(state_dict, 'anchors', model)
    divide_among_groups(state_dict, 'content', model)
