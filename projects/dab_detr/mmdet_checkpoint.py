"""Key map from MMDetection's checkpoints of DAB-DETR."""

from torch import nn

from detrove.checkpoints import register_converter, rename_keys
from detrove.checkpoints.conditional_layout import MMDET_KEY_MAP

KEY_MAP = (
    (r'query_embedding\.', 'query_selection.anchors.'),
    (r'decoder\.ref_point_head\.', 'decoder.position.mlp.'),
    (r'bbox_head\.fc_reg\.', 'bbox_head.bbox_heads.0.'),
    *MMDET_KEY_MAP,
)


@register_converter('DAB-DETR (MMDetection)',
                    marks=('decoder.layers.0.cross_attn.qpos_sine_proj.weight', 'bbox_head.fc_reg.layers.0.weight'))
def convert_mmdet(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of MMDetection's state dict in place."""
    rename_keys(state_dict, KEY_MAP)
