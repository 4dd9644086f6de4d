"""Key map from MMDetection's checkpoints."""

from torch import nn

from detrove.checkpoints import register_converter, rename_keys
from detrove.checkpoints.conditional_layout import MMDET_KEY_MAP

KEY_MAP = (
    (r'query_embedding\.', 'query_selection.position.'),
    (r'decoder\.ref_point_head\.', 'query_selection.reference_points.'),
    # the first layers of the box head and its last have modules of their own
    (r'bbox_head\.reg_ffn\.layers\.0\.0\.', 'bbox_head.bbox_heads.0.layers.0.'),
    (r'bbox_head\.reg_ffn\.layers\.1\.', 'bbox_head.bbox_heads.0.layers.1.'),
    (r'bbox_head\.fc_reg\.', 'bbox_head.bbox_heads.0.layers.2.'),
    *MMDET_KEY_MAP,
)


@register_converter('Conditional DETR (MMDetection)',
                    marks=('decoder.layers.0.cross_attn.qpos_sine_proj.weight', 'bbox_head.reg_ffn.layers.1.weight'))
def convert_mmdet(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of MMDetection's state dict in place."""
    rename_keys(state_dict, KEY_MAP)
