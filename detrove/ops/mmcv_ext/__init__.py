"""Stands in for `mmcv._ext` where mmcv was installed without its compiled extension.

Every function has the signature of mmcv's C++ binding: most fill tensors that the caller allocated. Ops that
no config shipped with mmdet or mmseg reaches are not supplied; calling one raises NotImplementedError with
its name. docs/ops.md lists what is.
"""

import platform

import torch

from . import carafe, deform_conv, focal_loss, masked_conv, msda, nms, psamask, roi, sync_bn

_TORCHVISION = (
    (nms, ('nms',)),
    (roi, ('roi_align_forward', 'roi_align_backward')),
    (
        deform_conv,
        (
            'deform_conv_forward',
            'deform_conv_backward_input',
            'deform_conv_backward_parameters',
            'modulated_deform_conv_forward',
            'modulated_deform_conv_backward',
        ),
    ),
)
_PYTORCH = (
    (nms, ('softnms', 'nms_match', 'line_nms_forward', 'bbox_overlaps')),
    (roi, ('roi_pool_forward', 'roi_pool_backward', 'deform_roi_pool_forward', 'deform_roi_pool_backward')),
    (
        focal_loss,
        (
            'sigmoid_focal_loss_forward',
            'sigmoid_focal_loss_backward',
            'softmax_focal_loss_forward',
            'softmax_focal_loss_backward',
        ),
    ),
    (msda, ('ms_deform_attn_forward', 'ms_deform_attn_backward')),
    (carafe, ('carafe_forward', 'carafe_backward', 'carafe_naive_forward', 'carafe_naive_backward')),
    (masked_conv, ('masked_im2col_forward', 'masked_col2im_forward')),
    (psamask, ('psamask_forward', 'psamask_backward')),
    (
        sync_bn,
        (
            'sync_bn_forward_mean',
            'sync_bn_forward_var',
            'sync_bn_forward_output',
            'sync_bn_backward_param',
            'sync_bn_backward_data',
        ),
    ),
)
_IMPLEMENTATIONS = {}
for _library, _families in (('torchvision', _TORCHVISION), ('PyTorch', _PYTORCH)):
    for _family, _names in _families:
        for _name in _names:
            _IMPLEMENTATIONS[_name] = _library
            globals()[_name] = getattr(_family, _name)


def implementations() -> dict[str, str]:
    """Op name -> the library that computes it, 'torchvision' or 'PyTorch', for every op supplied here."""
    return dict(_IMPLEMENTATIONS)


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
