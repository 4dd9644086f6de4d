"""What backbones of a stem and several stages have in common, whatever their blocks are."""

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch
from mmengine.model import BaseModule, initialize
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from detrove.checkpoints import load_pretrained


class Stage(nn.Module):
    """Blocks of one resolution, and what leads from there to the next stage.

    Args:
        blocks: each maps (B, H, W, C) to the same shape.
        downsample: maps (B, H, W, C) to about (B, H / 2, W / 2, C'); None for the last stage.
    """

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None = None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


class PretrainedBackbone(BaseModule):
    """What backbones have in common that are built here: parts that stay frozen, and `init_cfg` with a report."""

    _frozen_modules: Sequence[nn.Module] = ()

    def freeze(self, modules: Iterable[nn.Module]) -> None:
        """Do not train these parts, and keep them in eval mode."""
        self._frozen_modules = list(modules)
        for module in self._frozen_modules:
            module.requires_grad_(False)

    def train(self, mode: bool = True):
        """Frozen parts stay in eval mode, so that nothing in them is dropped and statistics stay."""
        super().train(mode)
        for module in self._frozen_modules:
            module.eval()
        return self

    def init_weights(self) -> None:
        """Weights are as constructed; load the checkpoint of `init_cfg`, or initialise as it says."""
        if isinstance(self.init_cfg, dict) and self.init_cfg.get('type') == 'Pretrained':
            load_pretrained(self, self.init_cfg)
        elif self.init_cfg is not None:
            initialize(self, self.init_cfg)
        self._is_init = True


class StagedBackbone(PretrainedBackbone):
    """Stem, stages, and a norm behind every stage whose output is wanted.

    Subclasses build stem and stages and hand them over. Maps have their channels last inside and first outside. Keys
    of a state dict are `stem.*`, `stages.I.blocks.J.*`, `stages.I.downsample.*` and `norm{I}.*`.

    Args:
        stem: maps images (B, 3, H, W) to (B, H / 4, W / 4, C), sizes rounded as the paper does.
        stages: one after another, each of half the resolution.
        dims: channels of every stage.
        out_indices: stages whose outputs are returned, 0 (stride 4) to 3 (stride 32).
        out_norm: put a layer norm behind these outputs (False: none; they are returned as the stages give them).
        frozen_stages: -1 trains everything, 0 freezes the stem, n also the first n stages with their downsampling and
            norms.
        with_cp: keep only the inputs of blocks for the backward pass and compute the rest again: less memory, more
            time, the same gradients.
        init_cfg: `dict(type='Pretrained', checkpoint=...)` loads a file or address, of this project's layout or any
            layout that the subclass knows. mmengine's other initialisers (`dict(type='Xavier', layer='Linear')`)
            replace the paper's deviation of 0.02, which suits widths of some hundred.

    Attributes:
        out_channels, out_strides: of the maps that `forward` returns.
        no_weight_decay: regular expression for names of parameters that the paper trains without weight decay.
    """

    no_weight_decay = r'norm|bias$'

    def __init__(self, stem: nn.Module, stages: Sequence[Stage], dims: Sequence[int], *,
                 out_indices: Sequence[int] = (0, 1, 2, 3), out_norm: bool = True, frozen_stages: int = -1,
                 with_cp: bool = False, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.out_indices = check_out_indices(type(self).__name__, out_indices, len(stages))
        check_frozen_stages(type(self).__name__, frozen_stages, len(stages))
        self.with_cp = with_cp
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        for i in self.out_indices if out_norm else ():
            self.add_module(f'norm{i}', nn.LayerNorm(dims[i]))
        self.out_channels = tuple(dims[i] for i in self.out_indices)
        self.out_strides = tuple(4 * 2**i for i in self.out_indices)
        norms = [getattr(self, f'norm{i}', None) for i in range(frozen_stages)]
        self.freeze([*[self.stem, *self.stages][:frozen_stages + 1], *filter(None, norms)])

    def init_weights(self) -> None:
        """Truncated normal linear layers (deviation 0.02, as the papers have it), then what `init_cfg` says."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, H, W) -> maps (B, C, H / stride, W / stride) as far as `out_indices` names them."""
        x = self.stem(images)
        outs = []
        for i, stage in enumerate(self.stages[:self.out_indices[-1] + 1]):
            for block in stage.blocks:
                recompute = self.with_cp and self.training and torch.is_grad_enabled()
                x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            if i in self.out_indices:
                norm = getattr(self, f'norm{i}', None)
                outs.append((x if norm is None else norm(x)).permute(0, 3, 1, 2).contiguous())
            if i < self.out_indices[-1]:
                x = stage.downsample(x)
        return tuple(outs)

    def get_layer_depth(self, param_name: str, prefix: str = 'backbone.') -> tuple[int, int]:
        """Place of a parameter for layer-wise decay of the learning rate: (layer id, number of layers).

        The stem has id 0, blocks count from 1 on through all stages, downsampling belongs to the block before it, the
        norms of outputs (and what is not of the backbone) to the last layer, as in mmpretrain's protocol.
        """
        return staged_layer_depth(param_name, prefix, [len(stage.blocks) for stage in self.stages])


def staged_layer_depth(param_name: str, prefix: str, depths: Sequence[int], *, stem: str = r'stem\.',
                       block: str = r'stages\.(\d+)\.blocks\.(\d+)\.',
                       downsample: str = r'stages\.(\d+)\.downsample\.') -> tuple[int, int]:
    """`StagedBackbone.get_layer_depth` for any names.

    Args:
        param_name: name in the detector.
        prefix: of the backbone's names.
        depths: blocks of each stage.
        stem, block, downsample: regular expressions of names behind the prefix, with groups for stage and block.
    """
    before = list(accumulate(depths, initial=0))
    last = before[-1] + 1
    depth = last
    name = param_name.removeprefix(prefix)
    if param_name.startswith(prefix):
        if re.match(stem, name):
            depth = 0
        elif found := re.match(block, name):
            depth = before[int(found[1])] + int(found[2]) + 1
        elif found := re.match(downsample, name):
            depth = before[int(found[1]) + 1]
    return depth, last + 1


def check_out_indices(owner: str, out_indices: Sequence[int], num_stages: int) -> tuple[int, ...]:
    """`out_indices` as a tuple.

    Raises:
        ValueError: if it is empty, not ascending, or names a stage that does not exist.
    """
    out_indices = tuple(out_indices)
    if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(num_stages))):
        raise ValueError(f'{owner}: out_indices={out_indices} must be ascending numbers from 0 to {num_stages - 1}.')
    return out_indices


def check_frozen_stages(owner: str, frozen_stages: int, num_stages: int) -> None:
    """Raise ValueError if `frozen_stages` names a stage that does not exist."""
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(f'{owner}: frozen_stages={frozen_stages} must lie between -1 (train everything) and '
                         f'{num_stages} (the number of stages).')


def drop_path_rates(depths: Sequence[int], rate: float) -> list[list[float]]:
    """Rates of stochastic depth per stage and block, growing linearly from 0 at the first block to `rate`."""
    rates = torch.linspace(0, rate, sum(depths), device='cpu').tolist()
    ends = list(accumulate(depths, initial=0))
    return [rates[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def select_arch(owner: str, archs: dict[str, dict], arch: str | dict) -> dict:
    """Settings of a published size, or those of one's own.

    Args:
        owner: name of the backbone, for messages.
        archs: size -> settings; all sizes have the same ones.
        arch: a size, or a dict that sets everything the sizes do.

    Raises:
        ValueError: if the size is not known, or settings are unknown or missing.
    """
    if isinstance(arch, str):
        if arch not in archs:
            raise ValueError(f'{owner} has no arch {arch!r}; choose one of {list(archs)}, or give a dict of settings.')
        return dict(archs[arch])
    expected = set(next(iter(archs.values())))
    if set(arch) != expected:
        raise ValueError(f'{owner}: an arch of your own sets {sorted(expected)}, got {sorted(arch)}.')
    return dict(arch)
