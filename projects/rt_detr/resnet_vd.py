"""ResNet-vd: ResNet with a three-convolution stem and average pooling in its strided shortcuts."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from detrove.backbones import PretrainedBackbone, check_frozen_stages, check_out_indices, staged_layer_depth
from detrove.checkpoints import rename_keys
from detrove.layers import ConvNormAct

_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

# key of the official PResNet -> key here
KEY_MAP = (
    (r'conv1\.conv1_1\.', 'stem.0.'),
    (r'conv1\.conv1_2\.', 'stem.1.'),
    (r'conv1\.conv1_3\.', 'stem.2.'),
    (r'res_layers\.(\d+)\.blocks\.(\d+)\.branch2a\.', r'stages.\1.\2.convs.0.'),
    (r'res_layers\.(\d+)\.blocks\.(\d+)\.branch2b\.', r'stages.\1.\2.convs.1.'),
    (r'res_layers\.(\d+)\.blocks\.(\d+)\.branch2c\.', r'stages.\1.\2.convs.2.'),
    # a pooled shortcut has one level of nesting more
    (r'res_layers\.(\d+)\.blocks\.(\d+)\.short\.(?:conv\.(?=conv|norm))?', r'stages.\1.\2.shortcut.'),
)


class ResidualBlock(nn.Module):
    """Basic block (two 3x3 convolutions) or bottleneck (1x1, 3x3, 1x1) with a vd shortcut.

    Args:
        in_channels, width: channels of the input and of the inner convolutions.
        stride: of the block; lies on the 3x3 convolution of a bottleneck.
        bottleneck: kind of block; a bottleneck gives 4 * width channels.
        project: whether the shortcut has a 1x1 convolution.
        norm_frozen: see `ConvNormAct`.
    """

    def __init__(self, in_channels: int, width: int, stride: int, *, bottleneck: bool, project: bool,
                 norm_frozen: bool):
        super().__init__()
        frozen = dict(norm_frozen=norm_frozen)
        out_channels = 4 * width if bottleneck else width
        if bottleneck:
            convs = [ConvNormAct(in_channels, width, 1, act='relu', **frozen),
                     ConvNormAct(width, width, 3, stride, act='relu', **frozen),
                     ConvNormAct(width, out_channels, 1, **frozen)]
        else:
            convs = [ConvNormAct(in_channels, width, 3, stride, act='relu', **frozen),
                     ConvNormAct(width, width, 3, **frozen)]
        self.convs = nn.Sequential(*convs)
        self.shortcut = ConvNormAct(in_channels, out_channels, 1, **frozen) if project else None
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """x (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        out = self.convs(x)
        if self.shortcut is not None:
            if self.stride > 1:
                x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True)
            x = self.shortcut(x)
        return F.relu(out.add_(x), inplace=True)


@MODELS.register_module()
class ResNetVD(PretrainedBackbone):
    """ResNet-vd ("Bag of Tricks", He et al. 2019, ResNet-D) as RT-DETR uses it.

    Unlike torchvision's and mmdet's variants, the first block of every stage has a convolution in its shortcut, in
    the first stage and in depths 18 and 34 too. Official `ResNet*_vd*.pth` files load through `init_cfg`.

    Args:
        depth: 18, 34, 50 or 101.
        out_indices: stages whose outputs are returned, 0 (stride 4) to 3 (stride 32).
        frozen_stages: -1 trains everything, 0 freezes the stem, n also the first n stages.
        norm_frozen: keep all batch norms at their loaded weights and statistics.
        base_channels: width of the first stage, doubled from stage to stage; 64 in the published models.
        init_cfg: `dict(type='Pretrained', checkpoint=...)`.

    Attributes:
        out_channels, out_strides: of the maps that `forward` returns.
        no_weight_decay: regular expression for names of parameters that RT-DETR trains without weight decay.
    """

    no_weight_decay = r'norm'

    def __init__(self, *, depth: int, out_indices: tuple[int, ...] = (1, 2, 3), frozen_stages: int = -1,
                 norm_frozen: bool = False, base_channels: int = 64, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        if depth not in _DEPTHS:
            raise ValueError(f'ResNetVD has no depth {depth}; choose one of {sorted(_DEPTHS)}.')
        check_frozen_stages('ResNetVD', frozen_stages, len(_DEPTHS[depth]))
        self.out_indices = check_out_indices('ResNetVD', out_indices, len(_DEPTHS[depth]))
        frozen = dict(norm_frozen=norm_frozen)
        half = base_channels // 2
        self.stem = nn.Sequential(ConvNormAct(3, half, 3, 2, act='relu', **frozen),
                                  ConvNormAct(half, half, 3, act='relu', **frozen),
                                  ConvNormAct(half, base_channels, 3, act='relu', **frozen))
        bottleneck = depth >= 50
        self.stages = nn.ModuleList()
        self.out_channels = []
        in_channels = base_channels
        for i, num_blocks in enumerate(_DEPTHS[depth]):
            width = base_channels * 2 ** i
            blocks = []
            for j in range(num_blocks):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(ResidualBlock(in_channels, width, stride, bottleneck=bottleneck, project=j == 0,
                                            **frozen))
                in_channels = 4 * width if bottleneck else width
            self.stages.append(nn.Sequential(*blocks))
            if i in self.out_indices:
                self.out_channels.append(in_channels)
        self.out_strides = [4 * 2**i for i in self.out_indices]
        self.freeze([self.stem, *self.stages][:frozen_stages + 1])
        self.register_load_state_dict_pre_hook(_rename_official_keys)

    def get_layer_depth(self, param_name: str, prefix: str = 'backbone.') -> tuple[int, int]:
        """(layer id, number of layers) of a parameter, see `StagedBackbone.get_layer_depth`."""
        return staged_layer_depth(param_name, prefix, [len(stage) for stage in self.stages],
                                  block=r'stages\.(\d+)\.(\d+)\.')

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (B, 3, H, W) -> maps of strides 4, 8, 16, 32 as far as `out_indices` names them."""
        *first, last = self.stem
        for conv in first:
            x = conv(x)
        x = last.max_pooled(x, 3, 2, 1)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)


def _rename_official_keys(module, state_dict, prefix, *_) -> None:
    rename_keys(state_dict, KEY_MAP, prefix)
