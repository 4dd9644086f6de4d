"""Key map from the checkpoints of MMDetection's DINO."""

from torch import nn

from detrove.checkpoints import add_no_object_row, register_converter, rename_keys
from detrove.checkpoints.deformable_layout import MMDET_KEY_MAP, fill_neck_biases, move_encoder_head, share_heads

KEY_MAP = (
    (r'query_embedding\.', 'query_selection.content.'),
    (r'decoder\.ref_point_head\.', 'decoder.position.mlp.'),
    (r'dn_query_generator\.label_embedding\.', 'denoising.label_embedding.'),
    *MMDET_KEY_MAP,
)


@register_converter('DINO (MMDetection)',
                    marks=('memory_trans_fc.weight', 'query_embedding.weight', 'bbox_head.cls_branches.0.weight',
                           'decoder.ref_point_head.layers.0.weight'))
def convert_mmdet(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of MMDetection's state dict in place; biases that only the model has, in its neck, are zero."""
    rename_keys(state_dict, KEY_MAP)
    move_encoder_head(state_dict)
    num_classes = len(state_dict['query_selection.class_head.weight'])
    add_no_object_row(state_dict, 'denoising.label_embedding.weight', num_classes)
    fill_neck_biases(state_dict, model)
    if model.bbox_head.shared:
        share_heads(state_dict)
