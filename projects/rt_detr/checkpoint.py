"""Key map from the official RT-DETR and RT-DETRv2 checkpoints."""

from torch import nn

from detrove.checkpoints import register_converter, rename_keys

from .resnet_vd import KEY_MAP as BACKBONE_KEY_MAP

# None: rebuilt from the input size or the settings here
KEY_MAP = (
    *((r'backbone\.' + old, 'backbone.' + new) for old, new in BACKBONE_KEY_MAP),
    (r'decoder\.(anchors|valid_mask)$', None),
    (r'decoder\.decoder\.layers\.\d+\.cross_attn\.num_points_scale$', None),
    (r'encoder\.input_proj\.(\d+)\.(?:0|conv)\.', r'neck.0.input_proj.\1.conv.'),
    (r'encoder\.input_proj\.(\d+)\.(?:1|norm)\.', r'neck.0.input_proj.\1.norm.'),
    (r'encoder\.encoder\.0\.layers\.', 'neck.0.aifi.'),
    (r'encoder\.(.*\.bottlenecks\.\d+)\.conv1\.', r'neck.0.\1.conv3x3.'),
    (r'encoder\.(.*\.bottlenecks\.\d+)\.conv2\.', r'neck.0.\1.conv1x1.'),
    (r'encoder\.', 'neck.0.'),
    (r'decoder\.input_proj\.(\d+)\.(?:0|conv)\.', r'neck.1.convs.\1.conv.'),
    (r'decoder\.input_proj\.(\d+)\.(?:1|norm)\.', r'neck.1.convs.\1.bn.'),
    (r'decoder\.enc_output\.(?:0|proj)\.', 'query_selection.output_proj.'),
    (r'decoder\.enc_output\.(?:1|norm)\.', 'query_selection.output_norm.'),
    (r'decoder\.enc_score_head\.', 'query_selection.class_head.'),
    (r'decoder\.enc_bbox_head\.', 'query_selection.bbox_head.'),
    (r'decoder\.dec_score_head\.', 'bbox_head.class_heads.'),
    (r'decoder\.dec_bbox_head\.', 'bbox_head.bbox_heads.'),
    (r'decoder\.denoising_class_embed\.', 'denoising.label_embedding.'),
    (r'decoder\.decoder\.layers\.', 'decoder.layers.'),
    (r'decoder\.query_pos_head\.', 'decoder.position.mlp.'),
)


@register_converter('RT-DETR (lyuwenyu/RT-DETR)',
                    marks=('decoder.enc_score_head.weight', 'decoder.dec_score_head.0.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official v1 or v2 state dict in place."""
    rename_keys(state_dict, KEY_MAP)
