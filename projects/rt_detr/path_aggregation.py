"""The encoder that RT-DETR's hybrid encoder is compared with: its variant D, without fusion blocks."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from detrove.layers import ConvNormAct

from .hybrid_encoder import IntraScaleEncoder


@MODELS.register_module()
class PathAggregationEncoder(IntraScaleEncoder):
    """Attention inside levels, then a top-down and a bottom-up path that add neighbouring levels, as in PANet.

    RT-DETR (Zhao et al. 2024), section 4.2, variant D; D_S5 with `attention_levels` of the coarsest level alone. The
    paper names PANet (Liu et al. 2018) and no layers, and there is no official code. The layers are those of the
    hybrid encoder but for its fusion blocks: going down, levels are added; going up, they are added and pass one 3x3
    convolution (PANet, section 3.1). The whole model then has the 35 M parameters of the paper's table.

    Args:
        in_channels, attention_levels, embed_dims and others: see `IntraScaleEncoder`.
    """

    def __init__(self, *, in_channels: list[int], embed_dims: int = 256, **attention):
        super().__init__(in_channels=in_channels, embed_dims=embed_dims, **attention)

        def convs(kernel_size: int, stride: int = 1) -> nn.ModuleList:
            return nn.ModuleList(ConvNormAct(embed_dims, embed_dims, kernel_size, stride, act='silu')
                                 for _ in in_channels[1:])

        self.lateral_convs = convs(1)
        self.downsample_convs = convs(3, stride=2)
        self.fusion_convs = convs(3)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Feature maps (B, C_i, H / s_i, W / s_i), each half the size of the one before -> the same with embed_dims."""
        feats = self._within_levels(feats)
        coarse_to_fine = [feats[-1]]
        for lateral, finer in zip(self.lateral_convs, feats[-2::-1], strict=True):
            upsampled = F.interpolate(lateral(coarse_to_fine[-1]), size=finer.shape[-2:], mode='nearest')
            coarse_to_fine.append(upsampled + finer)
        finest, *coarser = coarse_to_fine[::-1]
        outs = [finest]
        for downsample, fuse, feat in zip(self.downsample_convs, self.fusion_convs, coarser, strict=True):
            outs.append(fuse(downsample(outs[-1]) + feat))
        return tuple(outs)
