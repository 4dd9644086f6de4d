"""Backbones of mmpretrain under this project's contract."""

import inspect
from collections.abc import Mapping, Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from detrove.checkpoints import load_pretrained

from .staged import check_out_indices
from .wrapped import WrappedBackbone, dependencies, weightless_twin

# settings without which classes of mmpretrain give vectors, or refuse maps smaller than a window
_FOR_DENSE_PREDICTION = {'gap_before_final_norm': False, 'out_type': 'featmap', 'pad_small_map': True}


@MODELS.register_module()
class MMPretrainBackbone(WrappedBackbone):
    """A backbone of mmpretrain, with channels, strides and frozen stages that mean the same for all of them.

    `type='mmpretrain.HorNet'` alone works in a config too; then the config has to know the channels, `frozen_stages`
    counts as that class does, and few of them have layer-wise decay. Channels and strides are measured once, without
    computing. Networks that end in vectors (`gap_before_final_norm`, `out_type`) are set to give maps.

    Args:
        backbone: `dict(type='HorNet', arch='tiny', drop_path_rate=0.2)`, a class of mmpretrain and its settings.
        out_indices: as that class counts them; mostly 0 (stride 4) to 3 (stride 32).
        out_norm: put a new layer norm behind every output.
        frozen_stages: -1 trains everything, 0 freezes the stem, n also what the first n outputs of stride 4 and more
            depend on.
        with_cp: recompute blocks in the backward pass: less memory, more time, the same gradients; their batch norms
            count every step twice.
        norm_eval: batch norms keep their statistics in training, for batches of few images.
        pad_size_divisor: images are padded inside to multiples of it and the maps cropped, for classes that do not take
            every size (DaViT: 32).
        init_cfg: `dict(type='Pretrained', checkpoint=..., prefix='backbone.')`, a file of mmpretrain.

    Raises:
        ValueError: if mmpretrain has no such class, `backbone` has settings that are set here, or its outputs are
            not maps.
    """

    def __init__(self, *, backbone: Mapping, out_indices: Sequence[int] = (0, 1, 2, 3), out_norm: bool = False,
                 frozen_stages: int = -1, with_cp: bool = False, norm_eval: bool = False, pad_size_divisor: int = 1,
                 init_cfg: Mapping | None = None):
        name = f'mmpretrain.{backbone.get("type")}'
        img_size = backbone.get('img_size', 64)
        probe_hw = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        with torch.device('cpu'):  # where the model around it is laid out on the meta device: classes call item()
            model = _build(name, backbone, out_indices)
        twin = weightless_twin(model)
        images = torch.zeros(1, 3, *probe_hw, device='meta')
        try:
            maps = twin(images)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f'{name} does not take {probe_hw[0]} x {probe_hw[1]} images: {error}\nIf it is made for '
                             'one size, give that as its img_size; timm may have a variant for any size.') from error
        strides, channels = _measure(name, images, maps)
        out_indices = check_out_indices(name, out_indices, len(maps))
        used = dependencies(twin, [maps[i] for i in out_indices])
        super().__init__(model.to(torch.get_default_device()), name=name, strides=strides, channels=channels,
                         out_indices=out_indices, out_norm=out_norm,
                         norm_eval=norm_eval, pad_size_divisor=pad_size_divisor, init_cfg=init_cfg)
        self._probe_hw = probe_hw
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and parameter_name in used)
        self.freeze_stages(frozen_stages)
        if with_cp:
            self._recompute_blocks()

    def init_weights(self) -> None:
        """As the class initialises itself, then the checkpoint of `init_cfg`."""
        self.model.init_weights()
        if self.init_cfg is not None:
            load_pretrained(self.model, self.init_cfg)
        self._is_init = True

    def _levels(self, model: nn.Module, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
        maps = model(images)
        return [maps[i] for i in indices]

    def _probe_images(self) -> Tensor:
        return torch.zeros(1, 3, *self._probe_hw, device='meta')

    def _find_depths(self) -> tuple[dict[str, int], int]:
        if not hasattr(self.model, 'get_layer_depth'):
            return super()._find_depths()
        depths = {name: self.model.get_layer_depth(name) for name, _ in self.model.named_parameters()}
        return {name: depth for name, (depth, _) in depths.items()}, next(iter(depths.values()))[1]


def _build(name: str, backbone: Mapping, out_indices: Sequence[int]) -> nn.Module:
    import mmpretrain.models  # noqa: F401  (registers them)
    from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
    backbone_class = MMPRETRAIN_MODELS.get(backbone['type'])
    if backbone_class is None:
        raise ValueError(f'MMPretrainBackbone: mmpretrain has no {backbone["type"]!r}.')
    own = {'out_indices', 'frozen_stages', 'with_cp', 'init_cfg'} & set(backbone)
    if own:
        raise ValueError(f'{name}: set {sorted(own)} beside `backbone`, not in it.')
    takes = inspect.signature(backbone_class).parameters
    settings = {key: value for key, value in _FOR_DENSE_PREDICTION.items() if key in takes}
    if 'out_indices' in takes:
        # All levels up to the last: what runs is the same, and the place of every stage is known.
        settings['out_indices'] = tuple(range(max(out_indices) + 1))
    # whatever scope the model around it is built in
    return MMPRETRAIN_MODELS.build({'_scope_': 'mmpretrain', **settings, **backbone})


def _measure(name: str, images: Tensor, maps: Sequence[Tensor]) -> tuple[list[int], list[int]]:
    if not isinstance(maps, (tuple, list)) or any(not isinstance(x, Tensor) or x.ndim != 4 for x in maps):
        shapes = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in maps]
        raise ValueError(f'{name} gives {shapes} for an image of {tuple(images.shape)}, not maps (B, C, H, W): it '
                         'is made for classification, or has a setting such as out_type for maps.')
    return [round(images.shape[2] / x.shape[2]) for x in maps], [x.shape[1] for x in maps]
