"""Steps that converters from the code base of Deformable DETR and from MMDetection's DETRs have in common."""

import re

import torch
from torch import nn

from .conversion import rename_keys

# official names of Deformable DETR and its descendants -> names here
KEY_MAP = (
    (r'backbone\.0\.body\.', 'backbone.'),
    (r'input_proj\.extra(\d+)\.0\.', r'neck.extra_convs.\1.conv.'),
    (r'input_proj\.extra(\d+)\.1\.', r'neck.extra_convs.\1.gn.'),
    (r'input_proj\.(\d+)\.0\.', r'neck.convs.\1.conv.'),
    (r'input_proj\.(\d+)\.1\.', r'neck.convs.\1.gn.'),
    (r'transformer\.level_embed$', 'encoder.level_embedding'),
    (r'transformer\.encoder\.layers\.', 'encoder.layers.'),
    (r'transformer\.enc_output\.', 'query_selection.output_proj.'),
    (r'transformer\.enc_output_norm\.', 'query_selection.output_norm.'),
    (r'transformer\.decoder\.(class|bbox)_embed\.', None),  # the heads below under a second name
    # there the norms are numbered from the cross-attention's, here as they come: the self-attention's is the first
    (r'transformer\.decoder\.layers\.(\d+)\.norm1\.', r'decoder.layers.\1.norm2.'),
    (r'transformer\.decoder\.layers\.(\d+)\.norm2\.', r'decoder.layers.\1.norm1.'),
    (r'transformer\.decoder\.layers\.', 'decoder.layers.'),
    (r'class_embed\.', 'bbox_head.class_heads.'),
    (r'bbox_embed\.', 'bbox_head.bbox_heads.'),
)

# names of MMDetection's deformable DETRs -> names here
MMDET_KEY_MAP = (
    (r'level_embed$', 'encoder.level_embedding'),
    (r'memory_trans_fc\.', 'query_selection.output_proj.'),
    (r'memory_trans_norm\.', 'query_selection.output_norm.'),
    (r'(encoder|decoder)\.layers\.(\d+)\.ffn\.layers\.0\.0\.', r'\1.layers.\2.linear1.'),
    (r'(encoder|decoder)\.layers\.(\d+)\.ffn\.layers\.1\.', r'\1.layers.\2.linear2.'),
    *((rf'(encoder|decoder)\.layers\.(\d+)\.norms\.{i}\.', rf'\1.layers.\2.norm{i + 1}.') for i in range(3)),
    (r'decoder\.layers\.(\d+)\.self_attn\.attn\.', r'decoder.layers.\1.self_attn.'),
    (r'bbox_head\.cls_branches\.', 'bbox_head.class_heads.'),
    # the parts of an MLP: linear layers at even places, activations between
    *((rf'bbox_head\.reg_branches\.(\d+)\.{2 * i}\.', rf'bbox_head.bbox_heads.\1.layers.{i}.') for i in range(3)),
)


def mark_extra_levels(state_dict: dict, neck: str = 'input_proj') -> None:
    """Tell convolutions of further levels, which are 3x3, from those on the backbone's levels, 1x1, in place.

    Args:
        state_dict: holds the convolutions as `{neck}.{level}.0`; the further ones become `{neck}.extra0.0`, ...
        neck: what the names start with.
    """
    prefix = re.escape(neck)
    found = ((re.match(rf'{prefix}\.(\d+)\.0\.weight$', key), value) for key, value in state_dict.items())
    extra = sorted(int(match[1]) for match, value in found if match and value.shape[-1] == 3)
    for place, level in enumerate(extra):
        rename_keys(state_dict, ((rf'{prefix}\.{level}\.', f'{neck}.extra{place}.'),))


def move_encoder_head(state_dict: dict) -> None:
    """The last of the decoder's heads, which is the encoder's, to the query selection, in place; names are ours."""
    last = max(int(key.split('.')[2]) for key in state_dict if key.startswith('bbox_head.class_heads.'))
    rename_keys(state_dict, (
        (rf'bbox_head\.class_heads\.{last}\.', 'query_selection.class_head.'),
        (rf'bbox_head\.bbox_heads\.{last}\.', 'query_selection.bbox_head.'),
    ))


def share_heads(state_dict: dict) -> None:
    """Keep the first of equal decoder heads, in place; names are ours.

    Raises:
        ValueError: if the heads differ between layers.
    """
    for key in [key for key in state_dict if re.match(r'bbox_head\.(class|bbox)_heads\.', key)]:
        first = re.sub(r'(_heads)\.\d+\.', r'\1.0.', key)
        if key == first:
            continue
        if not torch.equal(state_dict.pop(key), state_dict[first]):
            raise ValueError(f'the checkpoint has a head of its own for each decoder layer ({key} differs from '
                             f'{first}), but the model shares one: set model.bbox_head.shared=False.')


def fill_neck_biases(state_dict: dict, model: nn.Module) -> None:
    """Zero for the biases of the neck's convolutions that MMDetection's models do not have, in place."""
    for name, parameter in model.neck.named_parameters():
        if name.endswith('conv.bias') and f'neck.{name}' not in state_dict:
            state_dict[f'neck.{name}'] = parameter.detach().new_zeros(parameter.shape)
