"""Key map from the checkpoints of MMDetection's Deformable DETR (3.x)."""

from torch import nn

from detrove.checkpoints import register_converter, rename_keys
from detrove.checkpoints.deformable_layout import MMDET_KEY_MAP, fill_neck_biases, move_encoder_head, share_heads

from .checkpoint import divide_queries

KEY_MAP = (
    (r'pos_trans_fc\.', 'query_selection.position_proj.'),
    (r'pos_trans_norm\.', 'query_selection.position_norm.'),
    (r'reference_points_fc\.', 'query_selection.reference_points.'),
    *MMDET_KEY_MAP,
)


@register_converter('Deformable DETR, two-stage (MMDetection)',
                    marks=('pos_trans_fc.weight', 'memory_trans_fc.weight', 'bbox_head.cls_branches.0.weight'))
@register_converter('Deformable DETR (MMDetection)',
                    marks=('reference_points_fc.weight', 'query_embedding.weight', 'bbox_head.cls_branches.0.weight'))
def convert_mmdet(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of MMDetection's state dict in place; biases that only our neck has are zero."""
    is_two_stage = 'pos_trans_fc.weight' in state_dict
    rename_keys(state_dict, KEY_MAP)
    if is_two_stage:
        move_encoder_head(state_dict)
    divide_queries(state_dict, 'query_embedding.weight', model)
    fill_neck_biases(state_dict, model)
    if model.bbox_head.shared:
        share_heads(state_dict)
