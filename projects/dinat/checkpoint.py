"""Weights of NAT and DiNAT in other layouts: the official repository's, and that of transformers."""

import re

import torch
from torch import nn

from detrove.checkpoints import rename_keys

# key of the official code -> key here. Its classes for classification, detection and segmentation differ in the norms
# of outputs only; in all versions of NATTEN `attn.rpb` has the same name and shape.
OFFICIAL_KEY_MAP = (
    (r'patch_embed\.', 'stem.'),
    (r'(?:levels|layers)\.', 'stages.'),
)

_TRANSFORMERS_BLOCK = (
    ('layernorm_before', 'norm1'),
    (r'attention\.self', 'attn'),
    (r'attention\.output\.dense', 'attn.proj'),
    ('layernorm_after', 'norm2'),
    (r'intermediate\.dense', 'mlp.fc1'),
    (r'output\.dense', 'mlp.fc2'),
    ('layer_scale_parameters', 'layer_scale_parameters'),
)
# key of transformers' NatForImageClassification and DinatForImageClassification -> key here
TRANSFORMERS_KEY_MAP = (
    (r'(?:di)?nat\.embeddings\.patch_embeddings\.projection\.', 'stem.proj.'),
    (r'(?:di)?nat\.embeddings\.norm\.', 'stem.norm.'),
    *((rf'(?:di)?nat\.encoder\.levels\.(\d+)\.layers\.(\d+)\.{theirs}\b', rf'stages.\1.blocks.\2.{ours}')
      for theirs, ours in _TRANSFORMERS_BLOCK),
    (r'(?:di)?nat\.encoder\.levels\.', 'stages.'),  # downsampling
    (r'(?:di)?nat\.layernorm\.', 'norm.'),
)


def rename_official_keys(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """A pre-hook of `load_state_dict`: names of a NAT or DiNAT become ours, in place.

    The norm behind the last stage of a classification model becomes that of the only output, if `module` has no other.
    """
    rename_keys(state_dict, OFFICIAL_KEY_MAP + TRANSFORMERS_KEY_MAP, prefix)
    _join_query_key_value(state_dict, prefix)
    _split_layer_scale(state_dict, prefix)
    last = len(module.stages) - 1
    if module.out_indices == (last,):
        rename_keys(state_dict, [(r'norm\.', f'norm{last}.')], prefix)


def _join_query_key_value(state_dict: dict, prefix: str) -> None:
    """transformers has a linear layer for each."""
    pattern = re.compile(re.escape(prefix) + r'(stages\.\d+\.blocks\.\d+\.attn\.)query\.(weight|bias)')
    for match in filter(None, map(pattern.fullmatch, list(state_dict))):
        block, kind = match.groups()
        parts = [state_dict.pop(f'{prefix}{block}{name}.{kind}') for name in ('query', 'key', 'value')]
        state_dict[f'{prefix}{block}qkv.{kind}'] = torch.cat(parts)


def _split_layer_scale(state_dict: dict, prefix: str) -> None:
    """transformers has both layer scales of a block as the rows of one matrix."""
    pattern = re.compile(re.escape(prefix) + r'stages\.\d+\.blocks\.\d+\.layer_scale_parameters')
    for key in filter(pattern.fullmatch, list(state_dict)):
        block = key.removesuffix('layer_scale_parameters')
        state_dict[block + 'gamma1'], state_dict[block + 'gamma2'] = state_dict.pop(key)
