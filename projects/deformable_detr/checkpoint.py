"""Key map from the official checkpoints, and from those of H-DETR, whose repository is this code with more flags."""

import torch
from torch import nn

from detrove.checkpoints import COCO_CATEGORY_IDS, register_converter, rename_keys
from detrove.checkpoints.deformable_layout import KEY_MAP as LAYOUT
from detrove.checkpoints.deformable_layout import mark_extra_levels, move_encoder_head, share_heads

KEY_MAP = (
    (r'transformer\.pos_trans\.', 'query_selection.position_proj.'),
    (r'transformer\.pos_trans_norm\.', 'query_selection.position_norm.'),
    (r'transformer\.reference_points\.', 'query_selection.reference_points.'),
    *LAYOUT,
)


@register_converter('Deformable DETR or H-DETR, two-stage (fundamentalvision/Deformable-DETR, HDETR/H-Deformable-DETR)',
                    marks=('transformer.pos_trans.weight', 'transformer.encoder.layers.0.self_attn.value_proj.weight',
                           'class_embed.0.weight', 'input_proj.0.0.weight'))
@register_converter('Deformable DETR (fundamentalvision/Deformable-DETR)',
                    marks=('transformer.reference_points.weight', 'query_embed.weight', 'class_embed.0.weight',
                           'transformer.encoder.layers.0.self_attn.value_proj.weight', 'input_proj.0.0.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict in place, and divide its table of queries into ours."""
    is_two_stage = 'transformer.pos_trans.weight' in state_dict
    mark_extra_levels(state_dict)
    rename_keys(state_dict, KEY_MAP)
    if is_two_stage:
        move_encoder_head(state_dict)
        keep_object_row(state_dict, model)
    divide_queries(state_dict, 'query_embed.weight', model)
    if model.bbox_head.shared:
        share_heads(state_dict)


def divide_queries(state_dict: dict, name: str, model: nn.Module) -> None:
    """The table of learned queries, in place.

    Two halves of its columns are positions and contents of one-stage queries. With mixed selection it holds contents
    alone, of the main branch and then of the one-to-many branch.

    Args:
        state_dict: may hold the table (queries, C or 2 C) under `name`.
        name: of the table.
        model: the model that it is for.
    """
    if name not in state_dict:
        return
    table, selection = state_dict.pop(name), model.query_selection
    if table.shape[1] == 2 * selection.embed_dims:
        state_dict['query_selection.position.weight'], state_dict['query_selection.content.weight'] = table.chunk(2, 1)
        return
    state_dict['query_selection.content.weight'] = table[:selection.num_queries]
    if model.one_to_many is not None:
        state_dict['one_to_many.content.weight'] = table[selection.num_queries:]


def keep_object_row(state_dict: dict, model: nn.Module) -> None:
    """91 rows of the encoder's class head -> the model's 80, in place, where row 0 ranks the tokens.

    Row 0 stands for any object, though no COCO category has the id 0; the other rows are of no use.
    """
    for kind in ('weight', 'bias'):
        name = f'query_selection.class_head.{kind}'
        ours = model.get_parameter(name)
        if state_dict[name].shape[0] == 91 and ours.shape[0] == 80:
            rows = torch.tensor([0, *COCO_CATEGORY_IDS[1:]], device=state_dict[name].device)
            state_dict[name] = state_dict[name][rows]
