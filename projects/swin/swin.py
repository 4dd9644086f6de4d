"""Swin Transformer."""

from collections.abc import Sequence

from mmengine.registry import MODELS

from detrove.backbones import (
    AttentionBlock,
    PatchEmbedding,
    PatchMerging,
    Stage,
    StagedBackbone,
    drop_path_rates,
    select_arch,
)

from .checkpoint import convert_while_loading
from .window_attention import WindowAttention

ARCHS = dict(
    tiny=dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    small=dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    base=dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    large=dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
)


@MODELS.register_module()
class Swin(StagedBackbone):
    """Swin Transformer: self-attention in windows that move from block to block (Liu et al. 2021).

    The networks of https://github.com/microsoft/Swin-Transformer and of its detection and segmentation code. Takes
    weights in the layouts of these, of MMDetection, MMPretrain, timm and torchvision, also those of other window sizes.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict of `embed_dims`, `depths` and `num_heads`.
        window_size: tokens along each side of a window; weights from images of 384 pixels have 12.
        shift_small_maps: move the windows of every second block also on maps whose shorter side fits into one window,
            as the original detection and segmentation code does; False: as its classification code does.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        out_indices, out_norm, frozen_stages, with_cp, init_cfg: see `StagedBackbone`.

    Raises:
        ValueError: if `arch`, `window_size`, `out_indices` or `frozen_stages` is not possible.
    """

    no_weight_decay = r'norm|relative_position_bias_table'

    def __init__(self, *, arch: str | dict = 'tiny', window_size: int = 7, shift_small_maps: bool = True,
                 drop_path_rate: float = 0.2, out_indices: Sequence[int] = (0, 1, 2, 3), out_norm: bool = True,
                 frozen_stages: int = -1, with_cp: bool = False, init_cfg: dict | None = None):
        if window_size < 2:
            raise ValueError(f'Swin: window_size={window_size} must be at least 2 tokens.')
        settings = select_arch('Swin', ARCHS, arch)
        dims = [settings['embed_dims'] * 2**i for i in range(len(settings['depths']))]
        stages = []
        for i, rates in enumerate(drop_path_rates(settings['depths'], drop_path_rate)):
            blocks = [
                AttentionBlock(
                    dims[i],
                    WindowAttention(dims[i], num_heads=settings['num_heads'][i], window_size=window_size,
                                    shifted=j % 2 == 1, shift_small_maps=shift_small_maps),
                    drop_path=rate)
                for j, rate in enumerate(rates)
            ]
            stages.append(Stage(blocks, PatchMerging(dims[i]) if i < len(dims) - 1 else None))
        super().__init__(PatchEmbedding(dims[0]), stages, dims, out_indices=out_indices, out_norm=out_norm,
                         frozen_stages=frozen_stages, with_cp=with_cp, init_cfg=init_cfg)
        self.register_load_state_dict_pre_hook(convert_while_loading)
