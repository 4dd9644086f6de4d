"""Key map from the original repository's checkpoints."""

from torch import nn

from detrove.checkpoints import add_no_object_row, register_converter, rename_keys
from detrove.checkpoints.deformable_layout import KEY_MAP as LAYOUT
from detrove.checkpoints.deformable_layout import mark_extra_levels, share_heads

KEY_MAP = (
    (r'transformer\.tgt_embed\.', 'query_selection.content.'),
    (r'transformer\.enc_out_class_embed\.', 'query_selection.class_head.'),
    (r'transformer\.enc_out_bbox_embed\.', 'query_selection.bbox_head.'),
    (r'transformer\.decoder\.norm\.', 'decoder.norm.'),
    (r'transformer\.decoder\.ref_point_head\.', 'decoder.position.mlp.'),
    (r'label_enc\.', 'denoising.label_embedding.'),
    (r'backbone\.0\.(?!body)', 'backbone.'),  # Swin, which reads its own names; ResNet has a body
    *LAYOUT,
)


@register_converter('DINO (IDEA-Research/DINO)',
                    marks=('transformer.tgt_embed.weight', 'transformer.enc_out_class_embed.weight',
                           'label_enc.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict in place; heads that the model shares between layers become one."""
    num_classes = len(state_dict['transformer.enc_out_class_embed.weight'])
    mark_extra_levels(state_dict)
    rename_keys(state_dict, KEY_MAP)
    add_no_object_row(state_dict, 'denoising.label_embedding.weight', num_classes)
    if model.bbox_head.shared:
        share_heads(state_dict)
