"""Changes to mmcv's Python code where its boundary to C loses information.

mmcv casts sampling locations to the dtype of the features, which under autocast moves them by up to a pixel
of a large map, and sends bf16 on CUDA to a grid_sample fallback with a warning per call.
"""

import sys

import torch

from detrove.ops.ms_deform_attn import ms_deform_attn


def patch_ms_deform_attn(module=None) -> bool:
    """Send mmcv's multi-scale deformable attention through `detrove.ops.ms_deform_attn`, locations in fp32.

    Called by the import hook when `mmcv.ops.multi_scale_deform_attn` has been imported; replaces two names that its
    `MultiScaleDeformableAttention.forward` looks up at call time. Does nothing where mmcv's compiled
    extension is in use, and nothing the second time.

    Args:
        module: mmcv.ops.multi_scale_deform_attn; by default taken from sys.modules.

    Returns:
        Whether that module now uses detrove's function.
    """
    module = module or sys.modules.get('mmcv.ops.multi_scale_deform_attn')
    if module is None or not hasattr(module.ext_module, 'implementations'):
        return False
    if module.multi_scale_deformable_attn_pytorch is not multi_scale_deformable_attn_pytorch:
        module.mmcv_form = module.multi_scale_deformable_attn_pytorch  # kept for comparisons
    module.multi_scale_deformable_attn_pytorch = multi_scale_deformable_attn_pytorch
    module.MultiScaleDeformableAttnFunction = MultiScaleDeformableAttnFunction
    return True


def multi_scale_deformable_attn_pytorch(
    value: torch.Tensor,
    value_spatial_shapes: torch.Tensor,
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
) -> torch.Tensor:
    """mmcv's name and arguments for `ms_deform_attn`."""
    return ms_deform_attn(value, value_spatial_shapes, sampling_locations, attention_weights)


class MultiScaleDeformableAttnFunction:
    """mmcv calls `apply` of an autograd.Function; ours needs none."""

    @staticmethod
    def apply(value, value_spatial_shapes, value_level_start_index, sampling_locations, attention_weights, im2col_step):
        """mmcv's arguments for `ms_deform_attn`; level starts follow from the shapes, no step is needed."""
        return ms_deform_attn(value, value_spatial_shapes, sampling_locations, attention_weights)
