"""Swin as the official Relation-DETR has it: mmdet's, without norms behind the stages."""

import re

from mmdet.models.backbones import SwinTransformer
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.checkpoints import rename_keys

# torchvision's names -> mmdet's, for a stage and a block that are put in
_BLOCK = (
    (r'norm', 'norm'),
    (r'attn\.', 'attn.w_msa.'),
    (r'mlp\.0\.', 'ffn.layers.0.0.'),
    (r'mlp\.3\.', 'ffn.layers.1.'),
)


@MODELS.register_module()
class PlainSwinTransformer(SwinTransformer):
    """mmdet's `SwinTransformer` whose feature maps are the stages' outputs as they are; it takes the same arguments."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Put nothing in the place of the norms behind the stages, norm0 to norm3."""
        super().add_module(name, nn.Identity() if re.fullmatch(r'norm\d', name) else module)


def convert_torchvision_swin(state_dict: dict, prefix: str) -> None:
    """Rename the entries of a torchvision Swin at `prefix`, if there is one, to mmdet's at `backbone.`, in place."""
    for key in [key for key in state_dict if key.startswith(prefix + 'features.')]:
        value = state_dict.pop(key)
        new_key = _mmdet_name(key.removeprefix(prefix + 'features.'))
        if new_key is not None:
            state_dict['backbone.' + new_key] = _unfold_order(value) if '.downsample.' in new_key else value


def _mmdet_name(key: str) -> str | None:
    layer, rest = re.match(r'(\d+)\.(.*)', key).groups()
    stage, is_merging = divmod(int(layer) - 1, 2)
    if layer == '0':
        part, rest = rest.split('.', 1)
        return f'patch_embed.{"projection" if part == "0" else "norm"}.{rest}'
    if is_merging:
        return f'stages.{stage}.downsample.{rest}'
    block, rest = rest.split('.', 1)
    if rest == 'attn.relative_position_index':
        return None  # rebuilt here, in another shape
    renamed = {rest: None}
    rename_keys(renamed, _BLOCK)
    return f'stages.{stage}.blocks.{block}.{next(iter(renamed))}'


def _unfold_order(merged: Tensor) -> Tensor:
    """Columns (or entries) from four patches (0, 0), (1, 0), (0, 1), (1, 1) of C channels to C x (row, column)."""
    patches = merged.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return patches.transpose(-1, -2).flatten(-2)
