"""Key map from the original repository's checkpoints."""

import re

import torch
from mmdet.models.backbones.swin import swin_converter
from torch import nn

from detrove.checkpoints import add_no_object_row, register_converter, rename_keys

KEY_MAP = (
    (r'backbone\.0\.body\.', 'backbone.'),
    (r'input_proj\.extra(\d+)\.0\.', r'neck.extra_convs.\1.conv.'),
    (r'input_proj\.extra(\d+)\.1\.', r'neck.extra_convs.\1.gn.'),
    (r'input_proj\.(\d+)\.0\.', r'neck.convs.\1.conv.'),
    (r'input_proj\.(\d+)\.1\.', r'neck.convs.\1.gn.'),
    (r'transformer\.level_embed$', 'encoder.level_embedding'),
    (r'transformer\.encoder\.layers\.', 'encoder.layers.'),
    (r'transformer\.tgt_embed\.', 'query_selection.content.'),
    (r'transformer\.enc_output\.', 'query_selection.output_proj.'),
    (r'transformer\.enc_output_norm\.', 'query_selection.output_norm.'),
    (r'transformer\.enc_out_class_embed\.', 'query_selection.class_head.'),
    (r'transformer\.enc_out_bbox_embed\.', 'query_selection.bbox_head.'),
    (r'transformer\.decoder\.(class|bbox)_embed\.', None),  # the heads below under a second name
    # there the norms are numbered from the cross-attention's, here as they come: the self-attention's is the first
    (r'transformer\.decoder\.layers\.(\d+)\.norm1\.', r'decoder.layers.\1.norm2.'),
    (r'transformer\.decoder\.layers\.(\d+)\.norm2\.', r'decoder.layers.\1.norm1.'),
    (r'transformer\.decoder\.layers\.', 'decoder.layers.'),
    (r'transformer\.decoder\.norm\.', 'decoder.norm.'),
    (r'transformer\.decoder\.ref_point_head\.', 'decoder.position.mlp.'),
    (r'class_embed\.', 'bbox_head.class_heads.'),
    (r'bbox_embed\.', 'bbox_head.bbox_heads.'),
    (r'label_enc\.', 'denoising.label_embedding.'),
)


@register_converter('DINO (IDEA-Research/DINO)',
                    marks=('transformer.tgt_embed.weight', 'transformer.enc_out_class_embed.weight',
                           'label_enc.weight'))
def convert_official(state_dict: dict, model: nn.Module) -> None:
    """Rename the keys of an official state dict in place; heads that the model shares between layers become one."""
    num_classes = len(state_dict['transformer.enc_out_class_embed.weight'])
    _mark_extra_levels(state_dict)
    _convert_swin(state_dict)
    rename_keys(state_dict, KEY_MAP)
    add_no_object_row(state_dict, 'denoising.label_embedding.weight', num_classes)
    if model.bbox_head.shared:
        share_heads(state_dict)


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


def _mark_extra_levels(state_dict: dict) -> None:
    """Tell projections of further levels, which are 3x3, from those of the backbone's levels, which are 1x1."""
    extra = [key.split('.')[1] for key in state_dict
             if re.match(r'input_proj\.\d+\.0\.weight$', key) and state_dict[key].shape[-1] == 3]
    for place, level in enumerate(sorted(extra, key=int)):
        rename_keys(state_dict, ((rf'input_proj\.{level}\.', f'input_proj.extra{place}.'),))


def _convert_swin(state_dict: dict) -> None:
    """Swin Transformer's own layout at `backbone.0.` -> mmdet's at `backbone.`, in place; others are left alone."""
    prefix = 'backbone.0.'
    if prefix + 'patch_embed.proj.weight' not in state_dict:
        return
    names = [key for key in state_dict if key.startswith(prefix)]
    state_dict.update(swin_converter({key.removeprefix(prefix): state_dict.pop(key) for key in names}))
