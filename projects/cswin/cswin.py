"""CSWin Transformer: attention in vertical and horizontal stripes at once, half of the heads each."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from detrove.backbones import AttentionBlock, Stage, StagedBackbone, drop_path_rates, select_arch
from detrove.checkpoints import rename_keys

ARCHS = dict(
    tiny=dict(embed_dims=64, depths=(1, 2, 21, 1), num_heads=(2, 4, 8, 16)),
    small=dict(embed_dims=64, depths=(2, 4, 32, 2), num_heads=(2, 4, 8, 16)),
    base=dict(embed_dims=96, depths=(2, 4, 32, 2), num_heads=(4, 8, 16, 32)),
    large=dict(embed_dims=144, depths=(2, 4, 32, 2), num_heads=(6, 12, 24, 24)),
)

# key of the official repository -> key here; its stages and norms count from 1
KEY_MAP = (
    (r'stage1_conv_embed\.0\.', 'stem.conv.'),
    (r'stage1_conv_embed\.2\.', 'stem.norm.'),
    *(pair for i in range(4) for pair in (
        (rf'stage{i + 1}\.(\d+)\.(?=qkv\.|proj\.)', rf'stages.{i}.blocks.\1.attn.'),
        (rf'stage{i + 1}\.(\d+)\.attns\.(\d)\.get_v\.', rf'stages.{i}.blocks.\1.attn.lepe.\2.'),
        (rf'stage{i + 1}\.(\d+)\.', rf'stages.{i}.blocks.\1.'),
        (rf'merge{i + 1}\.', f'stages.{i}.downsample.'),
        (rf'norm{i + 1}\.', f'norm{i}.'),
    )),
)


class ConvStem(nn.Module):
    """Convolution 7x7 of stride 4, and a norm."""

    def __init__(self, dims: int):
        super().__init__()
        self.conv = nn.Conv2d(3, dims, 7, stride=4, padding=2)
        self.norm = nn.LayerNorm(dims)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) -> (B, floor((H + 1) / 4), floor((W + 1) / 4), dims)."""
        return self.norm(self.conv(images).permute(0, 2, 3, 1))


class ConvMerge(nn.Module):
    """Convolution 3x3 of stride 2, and a norm."""

    def __init__(self, in_dims: int, out_dims: int):
        super().__init__()
        self.conv = nn.Conv2d(in_dims, out_dims, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(out_dims)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, in_dims) -> (B, ceil(H / 2), ceil(W / 2), out_dims)."""
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class CrossShapedAttention(nn.Module):
    """Self-attention in stripes across the whole map: half of the heads in vertical ones, half in horizontal ones.

    Locally-enhanced positions (LePE): a depthwise 3x3 convolution of the values, inside each stripe, is added to what
    the attention gives (sections 3.2 and 3.3 of the paper).

    Args:
        dims: channels.
        num_heads: of both directions together.
        split_size: width of the stripes; None: one window, the whole map.

    Raises:
        ValueError: if heads do not divide the channels, or cannot be shared out to the two directions.
    """

    def __init__(self, dims: int, num_heads: int, split_size: int | None):
        super().__init__()
        directions = 1 if split_size is None else 2
        if dims % num_heads or num_heads % directions:
            raise ValueError(f'CSWin: num_heads={num_heads} must divide dims={dims}, and be even where stripes of both '
                             f'directions share them.')
        self.split_size = split_size
        self.heads_per_direction = num_heads // directions
        self.qkv = nn.Linear(dims, 3 * dims)
        width = dims // directions
        self.lepe = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(directions))
        self.proj = nn.Linear(dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dims) -> (B, H, W, dims)."""
        size_hw = height, width = x.shape[1:3]
        stripes_hw = [size_hw] if self.split_size is None else [(height, self.split_size), (self.split_size, width)]
        qkv = self.qkv(x).unflatten(-1, (3, len(stripes_hw), -1))
        return self.proj(torch.cat([
            stripe_attention(qkv[..., i, :], stripe_hw, self.heads_per_direction, lepe)
            for i, (stripe_hw, lepe) in enumerate(zip(stripes_hw, self.lepe, strict=True))], dim=-1))


def stripe_attention(qkv: Tensor, stripe_hw: tuple[int, int], num_heads: int, lepe: nn.Module) -> Tensor:
    """Attention inside each stripe, with LePE.

    A map that stripes do not divide evenly gets a border of zero queries, keys and values, the odd row or column at the
    bottom or right; as in the official segmentation code the keys there take part in the softmax.

    Args:
        qkv: queries, keys and values (B, H, W, 3, C).
        stripe_hw: size of a stripe.
        num_heads: that share C.
        lepe: maps (stripes, C, h, w) to the same shape.

    Returns:
        (B, H, W, C).
    """
    height, width = qkv.shape[1:3]
    h, w = stripe_hw
    pad_y, pad_x = -height % h, -width % w
    top, left = pad_y // 2, pad_x // 2
    if pad_y or pad_x:
        qkv = F.pad(qkv, (0, 0, 0, 0, left, pad_x - left, top, pad_y - top))
    # (B, rows, columns, h, w, 3, C): stripes across the full width stay a view, and none is copied
    stripes = qkv.unflatten(2, (-1, w)).unflatten(1, (-1, h)).transpose(2, 3)
    grid = stripes.shape[:5]
    query, key, value = stripes.flatten(3, 4).flatten(0, 2).unbind(2)  # (stripes, h * w, C)
    heads = [x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, key, value)]
    out = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    positions = lepe(value.unflatten(1, (h, w)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
    out = (out + positions).reshape(*grid, -1).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return out[:, top:top + height, left:left + width]


@MODELS.register_module()
class CSWin(StagedBackbone):
    """CSWin Transformer (Dong et al. 2022, arXiv:2107.00652), official code microsoft/CSWin-Transformer.

    Takes images of any size. The authors' files of weights, of classification and of segmentation, load through
    `init_cfg` or as a part of a detector's or segmentor's checkpoint. The last norm of a classification network is used
    where only the last stage is wanted, `out_indices=(3,)`; otherwise norms of the outputs start anew, as the authors
    do it for segmentation.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict of `embed_dims` (channels of the first stage, doubled from
            stage to stage), `depths` and `num_heads` (of the four stages).
        split_size: widths of the stripes in the four stages, (1, 2, 12, 12) in models for images of 384 x 384. The last
            stage attends to its whole map, whatever its number.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        out_indices, out_norm, frozen_stages, with_cp, init_cfg: see `StagedBackbone`.

    Raises:
        ValueError: if `arch`, `split_size`, `out_indices` or `frozen_stages` is not possible.
    """

    def __init__(self, *, arch: str | dict = 'tiny', split_size: Sequence[int] = (1, 2, 7, 7),
                 drop_path_rate: float = 0.2, out_indices: Sequence[int] = (0, 1, 2, 3), out_norm: bool = True,
                 frozen_stages: int = -1, with_cp: bool = False, init_cfg: dict | None = None):
        settings = select_arch('CSWin', ARCHS, arch)
        depths, num_heads = settings['depths'], settings['num_heads']
        if not len(depths) == len(num_heads) == len(split_size) == 4 or min(split_size) < 1:
            raise ValueError(f'CSWin has four stages: expected four depths, four num_heads and four split_size of at '
                             f'least 1, got {depths}, {num_heads} and {split_size}.')
        dims = [settings['embed_dims'] * 2**i for i in range(4)]
        stages = []
        for i, rates in enumerate(drop_path_rates(depths, drop_path_rate)):
            split = split_size[i] if i < 3 else None
            blocks = [AttentionBlock(dims[i], CrossShapedAttention(dims[i], num_heads[i], split), drop_path=rate)
                      for rate in rates]
            stages.append(Stage(blocks, ConvMerge(dims[i], dims[i + 1]) if i < 3 else None))
        super().__init__(ConvStem(dims[0]), stages, dims, out_indices=out_indices, out_norm=out_norm,
                         frozen_stages=frozen_stages, with_cp=with_cp, init_cfg=init_cfg)
        self.register_load_state_dict_pre_hook(rename_official_keys)


def rename_official_keys(module: CSWin, state_dict: dict, prefix: str, *_) -> None:
    """A pre-hook of `load_state_dict`: give entries below `prefix` in the authors' layout our names, in place."""
    if f'{prefix}stage1_conv_embed.0.weight' not in state_dict:
        return
    classifier_norm = ((r'norm\.', 'norm3.'),) if module.out_indices == (3,) else ()
    rename_keys(state_dict, (*KEY_MAP, *classifier_norm), prefix)
