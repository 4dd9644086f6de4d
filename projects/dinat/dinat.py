"""NAT and DiNAT: transformers whose blocks attend to neighborhoods, dense ones and dilated ones."""

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn

from detrove.backbones import (
    AttentionBlock,
    PatchEmbedding,
    PatchMerging,
    Stage,
    StagedBackbone,
    drop_path_rates,
    select_arch,
)

from .attention import NeighborhoodAttention2d
from .checkpoint import rename_official_keys
from .dilations import block_dilations


class ConvStem(nn.Module):
    """Two strided convolutions, nothing in between, and a norm."""

    def __init__(self, dims: int):
        super().__init__()
        self.proj = nn.Sequential(nn.Conv2d(3, dims // 2, 3, 2, 1), nn.Conv2d(dims // 2, dims, 3, 2, 1))
        self.norm = nn.LayerNorm(dims)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) -> (B, ceil(H / 4), ceil(W / 4), dims)."""
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class ConvDownsample(nn.Module):
    """A strided convolution to twice the channels, and a norm."""

    def __init__(self, dims: int):
        super().__init__()
        self.reduction = nn.Conv2d(dims, 2 * dims, 3, 2, 1, bias=False)
        self.norm = nn.LayerNorm(2 * dims)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dims) -> (B, ceil(H / 2), ceil(W / 2), 2 dims)."""
        return self.norm(self.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def _nat(embed_dims: int, depths: Sequence[int], *, heads: int, mlp_ratio: float,
         layer_scale: float | None = None) -> dict:
    return dict(embed_dims=embed_dims, depths=depths, num_heads=tuple(heads * 2**i for i in range(4)),
                mlp_ratio=mlp_ratio, layer_scale=layer_scale, patches=False)


def _swin_like(embed_dims: int, depths: Sequence[int], *, heads: int) -> dict:
    return dict(_nat(embed_dims, depths, heads=heads, mlp_ratio=4.0), patches=True)


@MODELS.register_module()
class DiNAT(StagedBackbone):
    """Dilated Neighborhood Attention Transformer (Hassani and Shi 2022, arXiv:2209.15001).

    Every second block attends to distant pixels with gaps in between. Sizes 'mini' to 'large' have overlapping
    convolutions before their stages; 's_tiny' to 's_large' (DiNAT_s in the paper) have Swin's layout, with patches.

    Files of the official repository (SHI-Labs/Neighborhood-Attention-Transformer), of classification as well as
    detection and segmentation, load as they are, and so do those of transformers. The norm behind the last stage of a
    classification model is taken if that stage is the only output; otherwise norms of outputs are new, as in the
    official code.

    Args:
        arch: a size, or a dict of `embed_dims` (channels of the first stage, doubled from stage to stage), `depths`,
            `num_heads`, `mlp_ratio`, `layer_scale` (initial value, None: without) and `patches` (Swin's layout).
        dilations: one for all blocks; the name of what the official models were trained for: '224' and '384' pixels of
            ImageNet, 'coco', 'ade20k', 'ade20k-large', 'mask2former'; or a list for each stage. They change no weights.
        kernel_size: side of the windows; 7, and 11 in the large model for Mask2Former.
        drop_path_rate: of the last block; it grows linearly from 0.
        out_indices, frozen_stages, with_cp, init_cfg: see `StagedBackbone`.
    """

    archs = {
        'mini': _nat(64, (3, 4, 6, 5), heads=2, mlp_ratio=3.0),
        'tiny': _nat(64, (3, 4, 18, 5), heads=2, mlp_ratio=3.0),
        'small': _nat(96, (3, 4, 18, 5), heads=3, mlp_ratio=2.0),
        'base': _nat(128, (3, 4, 18, 5), heads=4, mlp_ratio=2.0, layer_scale=1e-5),
        'large': _nat(192, (3, 4, 18, 5), heads=6, mlp_ratio=2.0),
        's_tiny': _swin_like(96, (2, 2, 6, 2), heads=3),
        's_small': _swin_like(96, (2, 2, 18, 2), heads=3),
        's_base': _swin_like(128, (2, 2, 18, 2), heads=4),
        's_large': _swin_like(192, (2, 2, 18, 2), heads=6),
    }
    no_weight_decay = r'norm|rpb'

    def __init__(self, *, arch: str | dict = 'tiny', dilations: int | str | Sequence[Sequence[int]] = '224',
                 kernel_size: int = 7, drop_path_rate: float = 0.2, out_indices: Sequence[int] = (0, 1, 2, 3),
                 frozen_stages: int = -1, with_cp: bool = False, init_cfg: dict | None = None):
        settings = select_arch(type(self).__name__, self.archs, arch)
        depths = settings['depths']
        dims = [settings['embed_dims'] * 2**i for i in range(len(depths))]
        embed, downsample = (PatchEmbedding, PatchMerging) if settings['patches'] else (ConvStem, ConvDownsample)
        rates = drop_path_rates(depths, drop_path_rate)
        stages = []
        for i, stage_dilations in enumerate(block_dilations(dilations, depths)):
            blocks = [
                AttentionBlock(
                    dims[i],
                    NeighborhoodAttention2d(dims[i], num_heads=settings['num_heads'][i], kernel_size=kernel_size,
                                            dilation=dilation),
                    mlp_ratio=settings['mlp_ratio'], drop_path=rate, layer_scale=settings['layer_scale'])
                for dilation, rate in zip(stage_dilations, rates[i], strict=True)
            ]
            stages.append(Stage(blocks, downsample(dims[i]) if i + 1 < len(depths) else None))
        super().__init__(embed(dims[0]), stages, dims, out_indices=out_indices, frozen_stages=frozen_stages,
                         with_cp=with_cp, init_cfg=init_cfg)
        self.register_load_state_dict_pre_hook(rename_official_keys)


@MODELS.register_module()
class NAT(DiNAT):
    """Neighborhood Attention Transformer (Hassani et al. 2023, arXiv:2204.07143): DiNAT without gaps.

    Args:
        arch: 'mini', 'tiny', 'small', 'base', or a dict, see `DiNAT`.
        kernel_size, drop_path_rate, out_indices, frozen_stages, with_cp, init_cfg: see `DiNAT`.
    """

    archs = {
        **{name: DiNAT.archs[name] for name in ('mini', 'tiny', 'small', 'base')},
        'small': dict(DiNAT.archs['small'], layer_scale=1e-5),
    }

    def __init__(self, *, arch: str | dict = 'tiny', kernel_size: int = 7, drop_path_rate: float = 0.2,
                 out_indices: Sequence[int] = (0, 1, 2, 3), frozen_stages: int = -1, with_cp: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(arch=arch, dilations=1, kernel_size=kernel_size, drop_path_rate=drop_path_rate,
                         out_indices=out_indices, frozen_stages=frozen_stages, with_cp=with_cp, init_cfg=init_cfg)

