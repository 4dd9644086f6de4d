"""Stands in for `mmcv._ext` where mmcv was installed without its compiled extension.

Every function has the signature of mmcv's C++ binding: most fill tensors that the caller allocated. Ops that
no config shipped with mmdet or mmseg reaches are not supplied; calling one raises NotImplementedError with
its name. docs/ops.md lists what is.
"""

import platform
from types import FunctionType

import torch

from . import carafe, deform_conv, focal_loss, masked_conv, msda, nms, psamask, roi, sync_bn

_FAMILIES = (carafe, deform_conv, focal_loss, masked_conv, msda, nms, psamask, roi, sync_bn)
_FROM_TORCHVISION = ('nms', 'roi_align_', 'deform_conv_', 'modulated_deform_conv_')

#: Every public function defined in a family is an op under that name.
_OPS = {
    name: function
    for family in _FAMILIES
    for name, function in vars(family).items()
    if isinstance(function, FunctionType) and function.__module__ == family.__name__ and not name.startswith('_')
}
globals().update(_OPS)


def implementations() -> dict[str, str]:
    """Op name -> the library that computes it, 'torchvision' or 'PyTorch', for every op supplied here."""
    return {
        name: 'torchvision' if name in _FROM_TORCHVISION or name.startswith(_FROM_TORCHVISION[1:]) else 'PyTorch'
        for name in _OPS
    }


def get_compiler_version() -> str:
    """What mmcv reports as the compiler of its extension."""
    return f'none (detrove on {platform.python_implementation()} {platform.python_version()})'


def get_compiling_cuda_version() -> str:
    """What mmcv reports as the CUDA version of its extension: here that of PyTorch."""
    return torch.version.cuda or 'not available'


def __getattr__(name):
    # mmcv looks up every function that it binds at import: each needs to exist, only calling it is an error.
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def not_supplied(*args, **kwargs):
        raise NotImplementedError(
            f'mmcv op {name!r} is not available: mmcv is installed without its compiled extension, and '
            'detrove supplies only the ops that configs of mmdet and mmseg use (docs/ops.md), not this one. '
            'It needs an mmcv with compiled ops: build one from source with --no-build-isolation, on a '
            'PyTorch that it supports.'
        )

    not_supplied.__name__ = not_supplied.__qualname__ = name
    return not_supplied
