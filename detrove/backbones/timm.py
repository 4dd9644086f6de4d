"""Networks of timm (PyTorch Image Models) as backbones, by name."""

import difflib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from detrove.checkpoints import load_pretrained, load_weights

from .staged import check_out_indices
from .wrapped import WrappedBackbone


@MODELS.register_module()
class TimmBackbone(WrappedBackbone):
    """Any network of timm that has feature maps of several strides, e.g. 'convnext_tiny', and plain ones by one map.

    Channels and strides are those that timm declares. Compared with mmpretrain's TIMMBackbone it takes images of any
    size where the network can, downloads weights only when weights are initialised, freezes stages, keeps nothing that
    its outputs do not need, and knows the depth of its layers.

    Networks with tables for one size of images are made for variable sizes where timm can do that (ViT, Swin). Where
    windows must divide every level (MaxViT), images are padded at the right and the bottom and the maps cropped.
    Others (GC ViT, CoaT, CoAtNet) need `img_size`, to which images are then padded.

    Args:
        model_name: as in `timm.list_models()`.
        pretrained: fetch timm's weights when weights are initialised.
        out_indices: feature maps to return, numbered as timm does in the network's `feature_info`; many networks have
            one of stride 2 first.
        strides: choose them by strides instead, e.g. (8, 16, 32); each is the last map of that stride. With neither of
            the two: all of stride 4 and more.
        out_norm: put a new layer norm behind every output.
        frozen_stages: -1 trains everything, 0 freezes the stem, n also what the first n maps of stride 4 and more
            depend on.
        with_cp: recompute blocks in the backward pass, as far as the network can: less memory, more time.
        norm_eval: batch norms keep their statistics in training, for batches of few images.
        img_size: (height, width) that networks of one image size are built for.
        pad_size_divisor: images are padded to multiples of it inside, and the maps cropped; None: as the network
            needs it.
        init_cfg: `dict(type='Pretrained', checkpoint=...)`, a file (also of safetensors) in timm's layout or,
            where timm reads it, in that of the authors.
        model_kwargs: what else the network takes, e.g. `drop_path_rate=0.2`.

    Raises:
        ImportError: if timm is not installed.
        ValueError: if timm has no such network, it has no such maps, or needs an `img_size`.
    """

    def __init__(self, model_name: str, *, pretrained: bool = False, out_indices: Sequence[int] | None = None,
                 strides: Sequence[int] | None = None, out_norm: bool = False, frozen_stages: int = -1,
                 with_cp: bool = False, norm_eval: bool = False, img_size: Sequence[int] | None = None,
                 pad_size_divisor: int | None = None, init_cfg: Mapping | None = None, **model_kwargs):
        if pretrained and init_cfg:
            raise ValueError(f'TimmBackbone {model_name}: give either pretrained=True or init_cfg, not both.')
        name = f'timm {model_name}'
        if img_size is not None:
            model_kwargs['img_size'] = tuple(img_size)
        create, fixed_hw = _prepare(model_name, model_kwargs)
        model = create()
        strides_of_levels, channels = _levels_of(name, model)
        out_indices = _choose_levels(name, strides_of_levels, out_indices, strides)
        if with_cp:
            _recompute_blocks(name, model)
        divisor = pad_size_divisor or _needed_divisor(model, max(strides_of_levels))
        model.prune_intermediate_layers(list(out_indices), prune_norm=True)
        super().__init__(model, name=name, strides=strides_of_levels[:out_indices[-1] + 1], channels=channels,
                         out_indices=out_indices, out_norm=out_norm, norm_eval=norm_eval, pad_size_divisor=divisor,
                         init_cfg=init_cfg)
        self.pretrained = pretrained
        self._create = create
        self._fixed_hw = fixed_hw
        self.freeze_stages(frozen_stages)

    def init_weights(self) -> None:
        """timm has initialised the network; load what `pretrained` or `init_cfg` name."""
        if self.pretrained:
            weights = self._without_pruned(self._create(pretrained=True).state_dict())
            load_weights(self.model, weights, source=f'{self.name}, pretrained')
        elif self.init_cfg is not None:
            load_pretrained(self.model, self.init_cfg, convert=self._read_authors_layout)
        self._is_init = True

    def _read_authors_layout(self, weights: dict) -> dict:
        convert = getattr(sys.modules[type(self.model).__module__], 'checkpoint_filter_fn', None)
        return self._without_pruned(weights if convert is None else convert(weights, self._create()))

    def _without_pruned(self, weights: dict) -> dict:
        """Without what lies behind the last output."""
        with torch.device('meta'):
            pruned = self._create().state_dict().keys() - self.model.state_dict().keys()
        return {name: value for name, value in weights.items() if name not in pruned}

    def _levels(self, model: nn.Module, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
        height, width = images.shape[2:]
        try:
            return model.forward_intermediates(images, indices=list(indices), intermediates_only=True,
                                               output_fmt='NCHW')
        except (AssertionError, RuntimeError) as error:
            usual_size = height % 32 == width % 32 == 0 and not isinstance(error, AssertionError)
            if usual_size or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(
                f'{self.name} fails on images of {height} x {width}: {error}\nIf the size does not suit it, let '
                'images be padded inside, e.g. pad_size_divisor=32, or give img_size=(height, width) if it takes it.'
            ) from error

    def _padding(self, height: int, width: int) -> tuple[int, int]:
        if self._fixed_hw is None:
            return super()._padding(height, width)
        if height > self._fixed_hw[0] or width > self._fixed_hw[1]:
            raise ValueError(f'{self.name} was built for images of at most {self._fixed_hw[0]} x {self._fixed_hw[1]}, '
                             f'got {height} x {width}; set a larger img_size.')
        return self._fixed_hw[0] - height, self._fixed_hw[1] - width

    def _probe_images(self) -> Tensor:
        size_hw = self._fixed_hw or (max(64, self.pad_size_divisor),) * 2
        return torch.zeros(1, 3, *size_hw, device='meta')

    def _find_depths(self) -> tuple[dict[str, int], int]:
        if not hasattr(self.model, 'group_matcher'):
            return super()._find_depths()
        from timm.models import group_parameters
        depths = group_parameters(self.model, self.model.group_matcher(coarse=False), reverse=True)
        return depths, max(depths.values()) + 2


def _prepare(model_name: str, model_kwargs: dict) -> tuple[Callable, tuple[int, int] | None]:
    """What makes the network, for images of any size if that can be, and the only size it takes if not."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(f'TimmBackbone {model_name} needs timm: pip install timm') from error
    if not timm.is_model(model_name):
        similar = difflib.get_close_matches(model_name, timm.list_models(), n=5)
        raise ValueError(f'timm {timm.__version__} has no model {model_name!r}'
                         + (f'; similar are {similar}.' if similar else '; see timm.list_models().'))
    own = {'features_only', 'num_classes', 'global_pool', 'checkpoint_path', 'exportable'} & set(model_kwargs)
    if own:
        raise ValueError(f'TimmBackbone {model_name}: {sorted(own)} make no sense for a backbone; remove them.')
    create = partial(timm.create_model, model_name, num_classes=0, **model_kwargs)
    pretrained_cfg = timm.get_pretrained_cfg(model_name)
    if pretrained_cfg is None or not pretrained_cfg.fixed_input_size:
        return create, None
    with torch.device('meta'):
        network = create()
    takes = inspect.signature(type(network)).parameters
    for option, value in (('dynamic_img_size', True), ('strict_img_size', False)):
        if option in takes:
            return partial(create, **{option: value}), None
    if _partition_sizes(network):
        return create, None  # windows of fixed size: padding to multiples is enough
    if 'img_size' not in takes:
        return create, tuple(pretrained_cfg.input_size[1:])
    if 'img_size' not in model_kwargs:
        raise ValueError(f'timm {model_name} takes images of one size only. Give it the size of your largest images, '
                         'e.g. img_size=(640, 640), to which smaller ones are padded, or choose another network.')
    return create, model_kwargs['img_size']


def _levels_of(name: str, model: nn.Module) -> tuple[list[int], list[int]]:
    info = getattr(model, 'feature_info', None)
    info = getattr(info, 'info', info)
    if not info or not hasattr(model, 'forward_intermediates') or not hasattr(model, 'prune_intermediate_layers'):
        raise ValueError(f'{name} has no feature maps to ask for, in this version of timm; choose another network or '
                         'update: pip install -U timm')
    return [level['reduction'] for level in info], [level['num_chs'] for level in info]


def _choose_levels(name: str, available: Sequence[int], out_indices: Sequence[int] | None,
                   strides: Sequence[int] | None) -> tuple[int, ...]:
    if out_indices is not None and strides is not None:
        raise ValueError(f'{name}: give out_indices={tuple(out_indices)} or strides={tuple(strides)}, not both.')
    if out_indices is not None:
        return check_out_indices(name, [i + len(available) if i < 0 else i for i in out_indices], len(available))
    last = {stride: i for i, stride in enumerate(available)}
    if strides is None:
        if len(last) == 1:
            (stride,) = last
            raise ValueError(f'{name} has no feature maps of several strides: its {len(available)} layers all have '
                             f'stride {stride}. For a detector of one level set strides=({stride},); for more layers '
                             'of one size set out_indices.')
        strides = [stride for stride in last if stride >= 4]
    missing = set(strides) - set(last)
    if missing:
        raise ValueError(f'{name} has no feature maps of strides {sorted(missing)}, only of {list(last)}.')
    return check_out_indices(name, [last[stride] for stride in strides], len(available))


def _needed_divisor(model: nn.Module, largest_stride: int) -> int:
    windows = _partition_sizes(model)
    if windows:
        return largest_stride * math.lcm(*windows)
    return getattr(getattr(model, 'patch_embed', None), 'patch_size', (1,))[0]  # patches must fill the image


def _partition_sizes(model: nn.Module) -> set[int]:
    """Sides of windows and grids that must divide maps (MaxViT and its relatives)."""
    return {side for module in model.modules() for side in getattr(module, 'partition_size', ())}


def _recompute_blocks(name: str, model: nn.Module) -> None:
    try:
        model.set_grad_checkpointing(True)
    except (AssertionError, AttributeError, NotImplementedError) as error:
        raise ValueError(f'{name}: with_cp=True is not possible, timm cannot recompute this network.') from error
