"""Key maps that Conditional DETR and DAB-DETR have in common, and the division of query tables among groups."""

from torch import nn

# names of the official repositories -> names here
KEY_MAP = (
    (r'backbone\.0\.body\.', 'backbone.'),
    (r'input_proj\.', 'neck.convs.0.conv.'),
    (r'transformer\.encoder\.layers\.', 'encoder.layers.'),
    (r'transformer\.encoder\.query_scale\.', 'encoder.scale.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_([qk])content_proj\.', r'decoder.layers.\1.self_attn.\2_content.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_([qk])pos_proj\.', r'decoder.layers.\1.self_attn.\2_position.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_v_proj\.', r'decoder.layers.\1.self_attn.value.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_([qk])content_proj\.', r'decoder.layers.\1.cross_attn.\2_content.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_([qk])pos_proj\.', r'decoder.layers.\1.cross_attn.\2_position.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_qpos_sine_proj\.', r'decoder.layers.\1.cross_attn.q_spatial.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_v_proj\.', r'decoder.layers.\1.cross_attn.value.'),
    (r'transformer\.decoder\.layers\.', 'decoder.layers.'),
    (r'transformer\.decoder\.norm\.', 'decoder.norm.'),
    (r'transformer\.decoder\.query_scale\.', 'decoder.spatial_query.scale.'),
    (r'transformer\.decoder\.ref_anchor_head\.', 'decoder.spatial_query.size.'),
    (r'transformer\.decoder\.bbox_embed\.', None),  # the head below under a second name
    (r'class_embed\.', 'bbox_head.class_heads.0.'),
    (r'bbox_embed\.', 'bbox_head.bbox_heads.0.'),
)

# names of MMDetection's models -> names here
MMDET_KEY_MAP = (
    *((rf'(encoder|decoder)\.layers\.(\d+)\.norms\.{i}\.', rf'\1.layers.\2.norm{i + 1}.') for i in range(3)),
    (r'(encoder|decoder)\.layers\.(\d+)\.ffn\.layers\.0\.0\.', r'\1.layers.\2.linear1.'),
    (r'(encoder|decoder)\.layers\.(\d+)\.ffn\.layers\.0\.1\.', r'\1.layers.\2.activation.'),
    (r'(encoder|decoder)\.layers\.(\d+)\.ffn\.layers\.1\.', r'\1.layers.\2.linear2.'),
    (r'encoder\.layers\.(\d+)\.self_attn\.attn\.', r'encoder.layers.\1.self_attn.'),
    (r'encoder\.query_scale\.', 'encoder.scale.'),
    (r'decoder\.layers\.(\d+)\.(self|cross)_attn\.([qk])content_proj\.', r'decoder.layers.\1.\2_attn.\3_content.'),
    (r'decoder\.layers\.(\d+)\.(self|cross)_attn\.([qk])pos_proj\.', r'decoder.layers.\1.\2_attn.\3_position.'),
    (r'decoder\.layers\.(\d+)\.cross_attn\.qpos_sine_proj\.', r'decoder.layers.\1.cross_attn.q_spatial.'),
    (r'decoder\.layers\.(\d+)\.(self|cross)_attn\.v_proj\.', r'decoder.layers.\1.\2_attn.value.'),
    (r'decoder\.post_norm\.', 'decoder.norm.'),
    (r'decoder\.query_scale\.', 'decoder.spatial_query.scale.'),
    (r'decoder\.ref_anchor_head\.', 'decoder.spatial_query.size.'),
    (r'bbox_head\.fc_cls\.', 'bbox_head.class_heads.0.'),
)


def divide_among_groups(state_dict: dict, name: str, model: nn.Module) -> None:
    """A table with the learned queries of all groups one behind the other -> one table for each group, in place.

    Args:
        state_dict: may hold the table under `query_selection.{name}.weight`.
        name: of the table in a query selection.
        model: the model that it is for. Without groups it takes the first one, as inference does.
    """
    key = f'query_selection.{name}.weight'
    size = model.query_selection.num_queries
    if key not in state_dict or len(state_dict[key]) % size:
        return
    first, *further = state_dict[key].split(size)
    state_dict[key] = first
    for i, table in enumerate(further if model.groups is not None else ()):
        state_dict[f'groups.selections.{i}.{name}.weight'] = table
