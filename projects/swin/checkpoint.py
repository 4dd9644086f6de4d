"""The layouts in which Swin's weights are published, read as ours."""

import torch.nn.functional as F
from torch import Tensor, nn

from detrove.checkpoints import rename_keys

# names of the original repository, MMDetection, MMPretrain and timm -> names here; what None drops is computed here
KEY_MAP = (
    (r'(.*\.)?(relative_position_index|attn_mask)$', None),
    (r'patch_embed\.proj(ection)?\.', 'stem.proj.'),
    (r'patch_embed\.norm\.', 'stem.norm.'),
    (r'layers\.', 'stages.'),
)
# the same of blocks, once they stand below `stages`
BLOCK_KEY_MAP = (
    (r'(stages\.\d+\.blocks\.\d+)\.attn\.w_msa\.', r'\1.attn.'),
    (r'(stages\.\d+\.blocks\.\d+)\.(ffn\.layers\.0\.0|mlp\.0)\.', r'\1.mlp.fc1.'),
    (r'(stages\.\d+\.blocks\.\d+)\.(ffn\.layers\.1|mlp\.3)\.', r'\1.mlp.fc2.'),
)
# timm puts the downsampling before a stage, torchvision numbers stages and downsampling as they come
TIMM_KEY_MAP = tuple((rf'layers\.{i + 1}\.downsample\.', f'stages.{i}.downsample.') for i in range(3))
TORCHVISION_KEY_MAP = (
    (r'features\.0\.0\.', 'stem.proj.'),
    (r'features\.0\.2\.', 'stem.norm.'),
    *((rf'features\.{2 * i + 1}\.', f'stages.{i}.blocks.') for i in range(4)),
    *((rf'features\.{2 * i + 2}\.', f'stages.{i}.downsample.') for i in range(3)),
)


def convert_while_loading(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """A pre-hook of `load_state_dict`: rename and reshape the entries of a published Swin below `prefix` in place.

    Tables of position biases that were learned in windows of another size are resized as the original loader does it.
    """
    is_openmmlab = prefix + 'patch_embed.projection.weight' in state_dict
    is_timm = (prefix + 'layers.1.downsample.norm.weight' in state_dict
               and prefix + 'layers.0.downsample.norm.weight' not in state_dict)
    rename_keys(state_dict, (*(TIMM_KEY_MAP if is_timm else ()), *KEY_MAP, *TORCHVISION_KEY_MAP), prefix)
    rename_keys(state_dict, BLOCK_KEY_MAP, prefix)
    for name, value in module.state_dict().items():
        key = prefix + name
        if key not in state_dict:
            continue
        if is_openmmlab and '.downsample.' in name:
            state_dict[key] = _patch_order(state_dict[key])
        if name.endswith('relative_position_bias_table') and len(state_dict[key]) != len(value):
            state_dict[key] = resize_bias_table(state_dict[key], len(value))


def _patch_order(merged: Tensor) -> Tensor:
    """Columns (or entries) in C x (row, column) to four patches (0, 0), (1, 0), (0, 1), (1, 1) of C channels."""
    return merged.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :].flatten(-2)


def resize_bias_table(table: Tensor, length: int) -> Tensor:
    """Biases of relative positions (side * side, heads) for another window, by bicubic interpolation."""
    old, new = (round(n**0.5) for n in (len(table), length))
    maps = table.T.unflatten(-1, (old, old))[None]
    return F.interpolate(maps, size=(new, new), mode='bicubic')[0].flatten(1).T.contiguous()
