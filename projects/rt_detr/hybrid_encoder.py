"""RT-DETR's efficient hybrid encoder: attention on the coarsest level, convolutional fusion across levels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from detrove.layers import BranchSelfAttention, ConvNormAct, RepVGGBlock
from detrove.layers.memory import map_of_tokens, tokens_of_map
from detrove.ops.export_form import is_exporting


class CSPRepLayer(nn.Module):
    """Two 1x1 branches, one of them through RepVGG blocks, summed; a third 1x1 convolution if the width differs."""

    def __init__(self, in_channels: int, out_channels: int, *, num_blocks: int = 3, expansion: float = 1.0,
                 act: str = 'silu'):
        super().__init__()
        hidden = int(out_channels * expansion)
        self.conv1 = ConvNormAct(in_channels, hidden, 1, act=act)
        self.conv2 = ConvNormAct(in_channels, hidden, 1, act=act)
        self.bottlenecks = nn.Sequential(*(RepVGGBlock(hidden, act) for _ in range(num_blocks)))
        self.conv3 = ConvNormAct(hidden, out_channels, 1, act=act) if hidden != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class AIFILayer(nn.Module):
    """Attention-based intra-scale feature interaction: a post-norm transformer encoder layer with GELU."""

    def __init__(self, embed_dims: int, num_heads: int, feedforward_dims: int, dropout: float = 0.0):
        super().__init__()
        self.self_attn = BranchSelfAttention(embed_dims, num_heads, dropout)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.linear1 = nn.Linear(embed_dims, feedforward_dims)
        self.linear2 = nn.Linear(feedforward_dims, embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, pos: Tensor) -> Tensor:
        """tokens (B, N, C), pos (1, N, C) -> (B, N, C)."""
        tokens = self.norm1(tokens + self.dropout(self.self_attn(tokens, pos)))
        hidden = self.dropout(F.gelu(self.linear1(tokens)))
        return self.norm2(tokens + self.dropout(self.linear2(hidden)))


def sincos_position(height: int, width: int, embed_dims: int, temperature: float = 10000.0) -> Tensor:
    """Sine-cosine position embedding of a (height, width) map, tokens row by row -> (1, height * width, embed_dims).

    Channels are [sin y, cos y, sin x, cos x]. The official code means x first, but flattens its grid column by column
    while tokens run row by row; on square maps that is exactly y first, and published weights were trained so. On
    other maps the official order mixes rows and columns; here y stays first.
    """
    if embed_dims % 4:
        raise ValueError(f'embed_dims={embed_dims} must be divisible by 4 for a two-dimensional embedding.')
    omega = temperature ** -(torch.arange(embed_dims // 4, dtype=torch.float32) / (embed_dims // 4))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    y, x = (axis.flatten().float()[:, None] * omega for axis in (y, x))
    return torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], dim=1)[None]


@MODELS.register_module()
class IntraScaleEncoder(BaseModule):
    """1x1 projections to one width, then attention among the tokens of each level that is named; no level sees another.

    RT-DETR (Zhao et al. 2024), section 4.2: AIFI, the first half of the hybrid encoder, on the coarsest level; on all
    levels the paper's single-scale transformer encoder (its variants B and D), whose layers the levels share.

    Args:
        in_channels: channels of the backbone's levels, finest first.
        attention_levels: indices of the levels that get attention.
        embed_dims: channels of every output level.
        num_heads, feedforward_dims, dropout: of the attention layers.
        num_attention_layers: attention layers; 0 switches attention off.
    """

    def __init__(self, *, in_channels: list[int], attention_levels: Sequence[int], embed_dims: int = 256,
                 num_heads: int = 8, feedforward_dims: int = 1024, dropout: float = 0.0, num_attention_layers: int = 1,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        unknown = [level for level in attention_levels if level not in range(len(in_channels))]
        if unknown:
            raise ValueError(f'attention_levels={list(attention_levels)} names {unknown}, but in_channels has levels '
                             f'0 to {len(in_channels) - 1}.')
        self.embed_dims = embed_dims
        self.attention_levels = tuple(attention_levels)
        self.input_proj = nn.ModuleList(ConvNormAct(channels, embed_dims, 1) for channels in in_channels)
        self.aifi = nn.ModuleList(AIFILayer(embed_dims, num_heads, feedforward_dims, dropout)
                                  for _ in range(num_attention_layers))
        self._position_cache = {}

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Feature maps (B, C_i, H / s_i, W / s_i), each half the size of the one before -> the same with embed_dims."""
        return tuple(self._within_levels(feats))

    def _within_levels(self, feats: tuple[Tensor, ...]) -> list[Tensor]:
        if len(feats) != len(self.input_proj):
            raise ValueError(f'{type(self).__name__} got {len(feats)} levels, but in_channels names '
                             f'{len(self.input_proj)}.')
        feats = [proj(feat) for proj, feat in zip(self.input_proj, feats, strict=True)]
        return [self._attend(feat) if level in self.attention_levels else feat for level, feat in enumerate(feats)]

    def _attend(self, feat: Tensor) -> Tensor:
        height, width = feat.shape[-2:]
        tokens = tokens_of_map(feat)
        for layer in self.aifi:
            tokens = layer(tokens, self._position(height, width, tokens))
        return map_of_tokens(tokens, feat)

    def _position(self, height: int, width: int, tokens: Tensor) -> Tensor:
        # a cache that grows would be a reason to compile again, and sizes in exports may be symbols
        if torch.compiler.is_compiling() or is_exporting():
            return sincos_position(height, width, self.embed_dims).to(tokens)
        key = (height, width, tokens.device, tokens.dtype)
        if key not in self._position_cache:
            # made outside inference mode, so that a later training step may use it
            with torch.inference_mode(False):
                self._position_cache[key] = sincos_position(height, width, self.embed_dims).to(tokens)
        return self._position_cache[key]


@MODELS.register_module()
class HybridEncoder(IntraScaleEncoder):
    """AIFI on the coarsest level, then CCFM: a top-down and a bottom-up path of CSP layers with RepVGG blocks.

    RT-DETR (Zhao et al. 2024), section 4.2; `lyuwenyu/RT-DETR`.

    Args:
        in_channels: channels of the backbone's levels, finest first.
        embed_dims: channels of every output level.
        expansion: width of the CSP layers' inner part, relative to embed_dims.
        depth_mult: scales the three RepVGG blocks of each CSP layer.
        attention: of the attention layers, see `IntraScaleEncoder`; num_attention_layers=0 switches them off.
    """

    def __init__(self, *, in_channels: list[int], embed_dims: int = 256, expansion: float = 1.0,
                 depth_mult: float = 1.0, **attention):
        super().__init__(in_channels=in_channels, attention_levels=(len(in_channels) - 1,), embed_dims=embed_dims,
                         **attention)
        fusion = dict(num_blocks=round(3 * depth_mult), expansion=expansion)
        steps = range(len(in_channels) - 1)
        self.lateral_convs = nn.ModuleList(ConvNormAct(embed_dims, embed_dims, 1, act='silu') for _ in steps)
        self.fpn_blocks = nn.ModuleList(CSPRepLayer(2 * embed_dims, embed_dims, **fusion) for _ in steps)
        self.downsample_convs = nn.ModuleList(ConvNormAct(embed_dims, embed_dims, 3, 2, act='silu') for _ in steps)
        self.pan_blocks = nn.ModuleList(CSPRepLayer(2 * embed_dims, embed_dims, **fusion) for _ in steps)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Feature maps (B, C_i, H / s_i, W / s_i), each half the size of the one before -> the same with embed_dims."""
        return tuple(self._bottom_up(self._top_down(self._within_levels(feats))))

    def _top_down(self, feats: list[Tensor]) -> list[Tensor]:
        coarse_to_fine = [feats[-1]]
        for lateral, block, finer in zip(self.lateral_convs, self.fpn_blocks, feats[-2::-1], strict=True):
            # the lateral output also replaces the level that the bottom-up path will use
            coarse_to_fine[-1] = lateral(coarse_to_fine[-1])
            upsampled = F.interpolate(coarse_to_fine[-1], size=finer.shape[-2:], mode='nearest')
            coarse_to_fine.append(block(torch.cat([upsampled, finer], dim=1)))
        return coarse_to_fine[::-1]

    def _bottom_up(self, feats: list[Tensor]) -> list[Tensor]:
        outs = [feats[0]]
        for downsample, block, coarser in zip(self.downsample_convs, self.pan_blocks, feats[1:], strict=True):
            outs.append(block(torch.cat([downsample(outs[-1]), coarser], dim=1)))
        return outs
