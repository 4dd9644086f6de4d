"""FocalNet, a backbone whose tokens are modulated by context that convolutions gather around them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from detrove.backbones import (
    PretrainedBackbone,
    check_frozen_stages,
    check_out_indices,
    drop_path_rates,
    staged_layer_depth,
)
from detrove.checkpoints import unwrap_state_dict


class FocalModulation(nn.Module):
    """Gated sum of contexts of growing size, multiplied to a query (Yang et al. 2022, section 3.2).

    Args:
        dims: channels.
        num_levels: levels of context; a global one comes on top.
        window: kernel size of the first level, which grows by two from level to level.
        normalize: divide the sum by the number of levels.
    """

    def __init__(self, dims: int, num_levels: int, window: int, normalize: bool):
        super().__init__()
        self.dims = dims
        self.normalize = normalize
        self.f = nn.Linear(dims, 2 * dims + num_levels + 1)
        self.h = nn.Conv2d(dims, dims, 1)
        self.proj = nn.Linear(dims, dims)
        sizes = [window + 2 * level for level in range(num_levels)]
        self.focal_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dims, dims, size, padding=size // 2, groups=dims, bias=False), nn.GELU())
            for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, H, W, C)."""
        query, context, gates = self.f(x).permute(0, 3, 1, 2).split(
            [self.dims, self.dims, len(self.focal_layers) + 1], dim=1)
        gates = gates.split(1, dim=1)
        gathered = 0
        for layer, gate in zip(self.focal_layers, gates[:-1], strict=True):
            context = layer(context)
            gathered = gathered + context * gate
        gathered = gathered + F.gelu(context.mean((2, 3), keepdim=True)) * gates[-1]
        if self.normalize:
            gathered = gathered / len(gates)
        return self.proj((query * self.h(gathered)).permute(0, 2, 3, 1))


class FocalBlock(nn.Module):
    """Focal modulation and a perceptron, each with norm behind it, layer scale and residual.

    Args:
        dims, num_levels, window, normalize: see `FocalModulation`.
        drop_path: probability that a residual branch of an image is left out in training.
    """

    def __init__(self, dims: int, num_levels: int, window: int, normalize: bool, drop_path: float):
        super().__init__()
        self.modulation = FocalModulation(dims, num_levels, window, normalize)
        self.norm1 = nn.LayerNorm(dims)
        self.mlp = nn.ModuleDict(dict(fc1=nn.Linear(dims, 4 * dims), fc2=nn.Linear(4 * dims, dims)))
        self.norm2 = nn.LayerNorm(dims)
        self.gamma_1 = nn.Parameter(torch.full((dims,), 1e-4))
        self.gamma_2 = nn.Parameter(torch.full((dims,), 1e-4))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.gamma_1 * self.norm1(self.modulation(x)))
        hidden = F.gelu(self.mlp['fc1'](x))
        return x + self.drop_path(self.gamma_2 * self.norm2(self.mlp['fc2'](hidden)))


class ConvEmbedding(nn.Module):
    """Strided convolution with norm; maps are padded at the right and the bottom to a multiple of the stride."""

    def __init__(self, in_dims: int, out_dims: int, kernel_size: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(in_dims, out_dims, kernel_size, stride, padding=(kernel_size - stride + 1) // 2)
        self.norm = nn.LayerNorm(out_dims)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), C')."""
        height, width = x.shape[1:3]
        x = F.pad(x.permute(0, 3, 1, 2), (0, -width % self.stride, 0, -height % self.stride))
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


@MODELS.register_module()
class FocalNet(PretrainedBackbone):
    """FocalNet in the form of its large models, with overlapping embeddings, norms behind, and layer scale.

    Focal Modulation Networks (Yang et al. 2022). Takes the authors' files of weights, in which the network stands under
    'model'.

    Args:
        embed_dims: channels of the first stage, doubled from stage to stage.
        depths: blocks of each stage.
        focal_levels, focal_windows: of each stage, see `FocalModulation`.
        normalize_modulator: see `FocalModulation`.
        drop_path_rate: of the last block; it grows linearly from 0.
        out_indices: stages whose outputs are given.
        frozen_stages: -1 trains everything, 0 freezes the embedding, n also the first n stages.
        with_cp: compute blocks again in the backward pass: less memory, more time, the same gradients.
        init_cfg: `dict(type='Pretrained', checkpoint=...)`.

    Attributes:
        out_channels, out_strides: of the maps that `forward` returns.
        no_weight_decay: regular expression for names of parameters that Relation-DETR trains without weight decay.
    """

    no_weight_decay = r'norm|bias'

    def __init__(self, *, embed_dims: int = 192, depths: Sequence[int] = (2, 2, 18, 2),
                 focal_levels: Sequence[int] = (4, 4, 4, 4), focal_windows: Sequence[int] = (3, 3, 3, 3),
                 normalize_modulator: bool = True, drop_path_rate: float = 0.5,
                 out_indices: Sequence[int] = (0, 1, 2, 3), frozen_stages: int = -1, with_cp: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        check_frozen_stages('FocalNet', frozen_stages, len(depths))
        self.out_indices = check_out_indices('FocalNet', out_indices, len(depths))
        self.out_channels = tuple(embed_dims * 2**i for i in self.out_indices)
        self.out_strides = tuple(4 * 2**i for i in self.out_indices)
        self.with_cp = with_cp
        self.patch_embed = ConvEmbedding(3, embed_dims, kernel_size=7, stride=4)
        rates = drop_path_rates(depths, drop_path_rate)
        self.layers = nn.ModuleList()
        for stage, (levels, window) in enumerate(zip(focal_levels, focal_windows, strict=True)):
            dims = embed_dims * 2**stage
            blocks = [FocalBlock(dims, levels, window, normalize_modulator, rate) for rate in rates[stage]]
            layer = nn.ModuleDict(dict(blocks=nn.Sequential(*blocks)))
            if stage < len(depths) - 1:
                layer['downsample'] = ConvEmbedding(dims, 2 * dims, kernel_size=3, stride=2)
            self.layers.append(layer)
        for stage in self.out_indices:
            self.add_module(f'norm{stage}', nn.LayerNorm(embed_dims * 2**stage))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.freeze([self.patch_embed, *self.layers][:frozen_stages + 1])
        self.register_load_state_dict_pre_hook(_unwrap)

    def get_layer_depth(self, param_name: str, prefix: str = 'backbone.') -> tuple[int, int]:
        """(layer id, number of layers) of a parameter, see `StagedBackbone.get_layer_depth`."""
        return staged_layer_depth(param_name, prefix, [len(layer['blocks']) for layer in self.layers],
                                  stem=r'patch_embed\.', block=r'layers\.(\d+)\.blocks\.(\d+)\.',
                                  downsample=r'layers\.(\d+)\.downsample\.')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, H, W) -> maps (B, C, h, w) of strides 4, 8, 16, 32, those of `out_indices`."""
        x = self.patch_embed(images.permute(0, 2, 3, 1))
        maps = []
        for stage, layer in enumerate(self.layers):
            for block in layer['blocks']:
                recompute = self.with_cp and self.training and torch.is_grad_enabled()
                x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            if stage in self.out_indices:
                maps.append(getattr(self, f'norm{stage}')(x).permute(0, 3, 1, 2).contiguous())
            if stage < len(self.layers) - 1:
                x = layer['downsample'](x)
        return tuple(maps)


def _unwrap(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """A pre-hook of `load_state_dict`: take the weights out of the authors' file, in place."""
    if not prefix and 'model' in state_dict:
        weights = dict(unwrap_state_dict(state_dict))
        state_dict.clear()
        state_dict.update(weights)
