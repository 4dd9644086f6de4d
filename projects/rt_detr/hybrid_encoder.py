"""RT-DETR's efficient hybrid encoder: attention on the coarsest level, convolutional fusion across levels."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from detrove.layers import BranchSelfAttention, ConvNormAct, RepVGGBlock


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
class HybridEncoder(BaseModule):
    """AIFI on the coarsest level, then CCFM: a top-down and a bottom-up path of CSP layers with RepVGG blocks.

    RT-DETR (Zhao et al. 2024), section 4.2; `lyuwenyu/RT-DETR`.

    Args:
        in_channels: channels of the backbone's levels, finest first.
        embed_dims: channels of every output level.
        num_heads, feedforward_dims, dropout: of the attention layers.
        num_attention_layers: AIFI layers; 0 switches attention off.
        expansion: width of the CSP layers' inner part, relative to embed_dims.
        depth_mult: scales the three RepVGG blocks of each CSP layer.
    """

    def __init__(self, *, in_channels: list[int], embed_dims: int = 256, num_heads: int = 8,
                 feedforward_dims: int = 1024, dropout: float = 0.0, num_attention_layers: int = 1,
                 expansion: float = 1.0, depth_mult: float = 1.0, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.embed_dims = embed_dims
        self.input_proj = nn.ModuleList(ConvNormAct(channels, embed_dims, 1) for channels in in_channels)
        self.aifi = nn.ModuleList(AIFILayer(embed_dims, num_heads, feedforward_dims, dropout)
                                  for _ in range(num_attention_layers))
        fusion = dict(num_blocks=round(3 * depth_mult), expansion=expansion)
        steps = range(len(in_channels) - 1)
        self.lateral_convs = nn.ModuleList(ConvNormAct(embed_dims, embed_dims, 1, act='silu') for _ in steps)
        self.fpn_blocks = nn.ModuleList(CSPRepLayer(2 * embed_dims, embed_dims, **fusion) for _ in steps)
        self.downsample_convs = nn.ModuleList(ConvNormAct(embed_dims, embed_dims, 3, 2, act='silu') for _ in steps)
        self.pan_blocks = nn.ModuleList(CSPRepLayer(2 * embed_dims, embed_dims, **fusion) for _ in steps)
        self._position_cache = {}

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Feature maps (B, C_i, H / s_i, W / s_i), each half the size of the one before -> the same with embed_dims."""
        if len(feats) != len(self.input_proj):
            raise ValueError(f'HybridEncoder got {len(feats)} levels, but in_channels names {len(self.input_proj)}.')
        feats = [proj(feat) for proj, feat in zip(self.input_proj, feats, strict=True)]
        feats[-1] = self._attend(feats[-1])
        return tuple(self._bottom_up(self._top_down(feats)))

    def _attend(self, feat: Tensor) -> Tensor:
        height, width = feat.shape[-2:]
        tokens = feat.flatten(2).transpose(1, 2)
        for layer in self.aifi:
            tokens = layer(tokens, self._position(height, width, tokens))
        return tokens.transpose(1, 2).reshape(feat.shape)

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

    def _position(self, height: int, width: int, tokens: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # a cache that grows would be a reason to compile again
            return sincos_position(height, width, self.embed_dims).to(tokens)
        key = (height, width, tokens.device, tokens.dtype)
        if key not in self._position_cache:
            # made outside inference mode, so that a later training step may use it
            with torch.inference_mode(False):
                self._position_cache[key] = sincos_position(height, width, self.embed_dims).to(tokens)
        return self._position_cache[key]
