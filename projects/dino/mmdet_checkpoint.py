"""Key map from the checkpoints of MMDetection's DINO."""

from torch import nn

from detrove.checkpoints import add_no_object_row, register_converter, rename_keys

from .checkpoint import share_heads

# the parts of an MLP: linear layers at even places, activations between
_MLP = tuple((rf'(bbox_head\.bbox_heads\.\d+|query_selection\.bbox_head)\.{2 * i}\.', rf'\1.layers.{i}.')
             for i in range(3))
KEY_MAP = (
    (r'level_embed$', 'encoder.level_embedding'),
    (r'memory_trans_fc\.', 'query_selection.output_proj.'),
    (r'memory_trans_norm\.', 'query_selection.output_norm.'),
    (r'query_embedding\.', 'query_selection.content.'),
    (r'(encoder|decoder)\.layers\.(\d+)\.ffn\.layers\.0\.0\.', r'\1.layers.\2.linear1.'),
    (r'(encoder|decoder)\.layers\.(\d+)\.ffn\.layers\.1\.', r'\1.layers.\2.linear2.'),
    *((rf'(encoder|decoder)\.layers\.(\d+)\.norms\.{i}\.', rf'\1.layers.\2.norm{i + 1}.') for i in range(3)),
    (r'decoder\.layers\.(\d+)\.self_attn\.attn\.', r'decoder.layers.\1.self_attn.'),
    (r'decoder\.ref_point_head\.', 'decoder.position.mlp.'),
    (r'dn_query_generator\.label_embedding\.', 'denoising.label_embedding.'),
)


@register_converter('DINO (MMDetection)',
                    marks=('memory_trans_fc.weight', 'query_embedding.weight', 'bbox_head.cls_branches.0.weight',
                           'decoder.ref_point_head.layers.0.weight'))
def convert_mmdet(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of MMDetection's state dict in place; biases that only the model has, in its neck, are zero."""
    encoder_head = max(int(key.split('.')[2]) for key in state_dict if key.startswith('bbox_head.cls_branches.'))
    num_classes = len(state_dict[f'bbox_head.cls_branches.{encoder_head}.weight'])
    rename_keys(state_dict, (
        (rf'bbox_head\.cls_branches\.{encoder_head}\.', 'query_selection.class_head.'),
        (rf'bbox_head\.reg_branches\.{encoder_head}\.', 'query_selection.bbox_head.'),
        (r'bbox_head\.cls_branches\.', 'bbox_head.class_heads.'),
        (r'bbox_head\.reg_branches\.', 'bbox_head.bbox_heads.'),
        *KEY_MAP))
    rename_keys(state_dict, _MLP)
    add_no_object_row(state_dict, 'denoising.label_embedding.weight', num_classes)
    for name, parameter in model.neck.named_parameters():
        if name.endswith('conv.bias') and f'neck.{name}' not in state_dict:
            state_dict[f'neck.{name}'] = parameter.detach().new_zeros(parameter.shape)
    if model.bbox_head.shared:
        share_heads(state_dict)
