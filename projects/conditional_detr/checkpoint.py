"""Key map from the official checkpoints, with groups (branch GroupDETR) and without."""

from torch import nn

from detrove.checkpoints import register_converter, rename_keys
from detrove.checkpoints.conditional_layout import KEY_MAP as LAYOUT
from detrove.checkpoints.conditional_layout import divide_among_groups

KEY_MAP = (
    (r'query_embed\.', 'query_selection.position.'),
    (r'transformer\.decoder\.ref_point_head\.', 'query_selection.reference_points.'),
    *LAYOUT,
)


@register_converter('Conditional DETR, Group DETR (Atten4Vis/ConditionalDETR)',
                    marks=('transformer.decoder.layers.0.ca_qpos_sine_proj.weight', 'query_embed.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict in place, and divide its table of queries among the groups."""
    rename_keys(state_dict, KEY_MAP)
    divide_among_groups(state_dict, 'position', model)
