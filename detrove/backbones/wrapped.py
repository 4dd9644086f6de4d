"""Backbones of other libraries as parts of this project's: one contract, whoever wrote the layers."""

import copy
import functools
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .staged import check_frozen_stages

# classes of blocks in timm and mmpretrain: MetaFormerBlock, Bottleneck, TransformerEncoderLayer, T2TTransformerLayer
_BLOCK = re.compile(r'(Block|Bottleneck|EncoderLayer|TransformerLayer)$')


class WrappedBackbone(BaseModule):
    """A network of another library, `model`, under the contract of `StagedBackbone`.

    Keys of its state dict are those of the other library behind `model.`, and `norm{I}.*`. Subclasses say how feature
    maps are computed (`_levels`), how deep its parameters lie (`_find_depths`) and what they load (`init_weights`).

    Args:
        model: the other library's network.
        name: what to call it in messages.
        strides, channels: of all levels of the network that can be asked for, in order.
        out_indices: the levels to return.
        out_norm: put a new layer norm behind every output, as detectors with transformers as their backbone do it.
        norm_eval: batch norms keep their statistics in training, for batches of few images.
        pad_size_divisor: images are padded at the right and the bottom to multiples of it, and the maps cropped.
        init_cfg: see the subclass.

    Attributes:
        out_channels, out_strides: of the maps that `forward` returns.
    """

    def __init__(self, model: nn.Module, *, name: str, strides: Sequence[int], channels: Sequence[int],
                 out_indices: Sequence[int], out_norm: bool, norm_eval: bool, pad_size_divisor: int,
                 init_cfg: Mapping | None):
        super().__init__(init_cfg=init_cfg)
        self.model = model
        self.name = name
        self.out_indices = tuple(out_indices)
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        self.out_strides = tuple(strides[i] for i in self.out_indices)
        for i, dims in zip(self.out_indices, self.out_channels, strict=True) if out_norm else ():
            self.add_module(f'norm{i}', nn.LayerNorm(dims))
        self.norm_eval = norm_eval
        self.pad_size_divisor = pad_size_divisor
        self._strides = tuple(strides)
        self._frozen = []  # names, because batch norms may be replaced by synchronised ones

    @property
    def no_weight_decay(self) -> str:
        """Regular expression for the names of what is trained without decay: biases, norms and all of one dimension."""
        exempt = {name for name, parameter in self.named_parameters() if parameter.ndim <= 1}
        if hasattr(self.model, 'no_weight_decay'):
            exempt |= {f'model.{name}' for name in self.model.no_weight_decay()}
        return '|'.join(name.replace('.', r'\.') + '$' for name in sorted(exempt))

    def train(self, mode: bool = True):
        """Frozen parts stay in eval mode, so that their statistics stay too, with `norm_eval` all batch norms."""
        super().train(mode)
        norms = [x for x in self.model.modules() if isinstance(x, _BatchNorm)] if self.norm_eval else []
        for module in (*map(self.get_submodule, self._frozen), *norms):
            module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, H, W) -> maps (B, C, h, w) of `out_channels` and `out_strides`, sizes rounded as in `model`."""
        height, width = images.shape[2:]
        bottom, right = self._padding(height, width)
        padded = bottom > 0 or right > 0
        maps = self._levels(self.model, F.pad(images, (0, right, 0, bottom)) if padded else images, self.out_indices)
        outs = []
        for i, x, stride in zip(self.out_indices, maps, self.out_strides, strict=True):
            if padded:
                x = x[:, :, :math.ceil(height / stride), :math.ceil(width / stride)]
            norm = getattr(self, f'norm{i}', None)
            if norm is not None:
                x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            outs.append(x.contiguous())
        return tuple(outs)

    def _padding(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns to put at the bottom and the right of images of this size."""
        return -height % self.pad_size_divisor, -width % self.pad_size_divisor

    def get_layer_depth(self, param_name: str, prefix: str = 'backbone.') -> tuple[int, int]:
        """(layer id, number of layers) of a parameter, for layer-wise decay; see `StagedBackbone.get_layer_depth`."""
        depths, num_layers = self._depths
        name = param_name.removeprefix(f'{prefix}model.')
        return (num_layers - 1 if name == param_name else depths[name]), num_layers

    def freeze_stages(self, frozen_stages: int) -> None:
        """Freeze part of the network, once and for all.

        Args:
            frozen_stages: -1 nothing, 0 the stem, n also all that the first n levels of stride 4 and more depend on.
        """
        stages = [i for i, stride in enumerate(self._strides) if stride >= 4]
        check_frozen_stages(self.name, frozen_stages, len(stages))
        if frozen_stages < 0:
            return
        levels = stages[:frozen_stages]
        if levels:
            twin = weightless_twin(self.model)
            frozen = dependencies(twin, self._levels(twin, self._probe_images(), levels))
        else:
            frozen = {name for name, depth in self._depths[0].items() if depth == 0}
        for name in frozen:
            self.model.get_parameter(name).requires_grad_(False)
        for i in levels:
            if hasattr(self, f'norm{i}'):
                getattr(self, f'norm{i}').requires_grad_(False)
        self._frozen = [name for name, module in self.named_modules() if _is_frozen(module)]
        self.train()

    @functools.cached_property
    def _depths(self) -> tuple[dict[str, int], int]:
        return self._find_depths()

    def _find_depths(self) -> tuple[dict[str, int], int]:
        """Layer id of every parameter of `model`, and the number of layers, in which outside of it is one."""
        _, depths = self._execution_order()
        return depths, max(depths.values()) + 2

    def _execution_order(self) -> tuple[list[str], dict[str, int]]:
        twin = weightless_twin(self.model)
        return execution_order(self.name, twin, lambda: self._levels(twin, self._probe_images(), self.out_indices))

    def _recompute_blocks(self) -> None:
        """Keep only the inputs of blocks for the backward pass; batch norms in them count every step twice."""
        for block in self._execution_order()[0]:
            module = self.model.get_submodule(block)
            module.forward = functools.partial(_recomputed, module)

    @abstractmethod
    def _levels(self, model: nn.Module, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """The maps (B, C, h, w) of these levels of `model` or its twin."""

    @abstractmethod
    def _probe_images(self) -> Tensor:
        """A small input that the network takes, on the meta device."""


def weightless_twin(model: nn.Module) -> nn.Module:
    """A copy in eval mode on the meta device: it can be run for shapes and dependencies, and computes nothing."""
    twin = copy.deepcopy(model).to('meta')
    twin.eval()  # not chained: train() of mmpretrain's classes returns nothing
    return twin


def dependencies(model: nn.Module, outputs: Sequence[Tensor]) -> set[str]:
    """Names of the trained parameters that these outputs depend on."""
    names, parameters = zip(*((name, x) for name, x in model.named_parameters() if x.requires_grad), strict=True)
    grads = torch.autograd.grad(outputs, parameters, [torch.ones_like(x) for x in outputs], allow_unused=True)
    return {name for name, grad in zip(names, grads, strict=True) if grad is not None}


def execution_order(name: str, model: nn.Module, run: Callable[[], object]) -> tuple[list[str], dict[str, int]]:
    """Which blocks a network has, and the layer ids of its parameters, from the order in which it calls its modules.

    Blocks count from 1 on; what runs between two blocks belongs to the first of them, what runs before them has id 0.

    Args:
        name: of the network, for the message.
        model: the network.
        run: calls it once.

    Returns:
        Names of the blocks in order; parameter name -> layer id.

    Raises:
        ValueError: if no class of its modules is named like a block.
    """
    blocks, entered = [], {}

    def enter(module_name: str, is_block: bool) -> Callable:
        def hook(*_):
            if is_block and module_name not in blocks and not any(module_name.startswith(f'{b}.') for b in blocks):
                blocks.append(module_name)
            entered.setdefault(module_name, len(blocks))
        return hook

    hooks = [module.register_forward_pre_hook(enter(module_name, bool(_BLOCK.search(type(module).__name__))))
             for module_name, module in model.named_modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    if not blocks:
        raise ValueError(f'{name}: no class of its layers is named ...Block, so they cannot be told: layer-wise decay, '
                         'frozen_stages=0 and with_cp are not possible.')
    depths = {}
    for parameter_name, _ in model.named_parameters():
        owner = parameter_name.rpartition('.')[0]
        while owner not in entered:  # not called itself: its values are used by the module around it
            owner = owner.rpartition('.')[0]
        depths[parameter_name] = entered[owner]
    return blocks, depths


def _recomputed(module: nn.Module, *args, **kwargs) -> Tensor:
    forward = functools.partial(type(module).forward, module)
    if module.training and torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(x.requires_grad for x in parameters)
