"""mmcv's deformable attention module runs through detrove's function, with locations in fp32."""

import types

import mmcv.ops.multi_scale_deform_attn as mmcv_module
import pytest
import torch

from detrove.compat import mmcv_msda
from detrove.compat.mmcv_msda import patch_ms_deform_attn
from detrove.ops.ms_deform_attn import ms_deform_attn_reference

SHAPES = torch.tensor([[6, 8], [3, 4]])


@pytest.fixture(autouse=True)
def restore(monkeypatch):
    """Whatever state the import hook left, each test starts from and returns to it."""
    for name in ('multi_scale_deformable_attn_pytorch', 'MultiScaleDeformableAttnFunction'):
        monkeypatch.setattr(mmcv_module, name, getattr(mmcv_module, name))


def make_module_and_inputs():
    torch.manual_seed(0)
    module = mmcv_module.MultiScaleDeformableAttention(
        embed_dims=16, num_heads=2, num_levels=2, num_points=3, batch_first=True, dropout=0.0
    )
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.5)
    inputs = dict(
        query=torch.randn(2, 5, 16),
        value=torch.randn(2, 60, 16),
        reference_points=torch.rand(2, 5, 2, 2),
        spatial_shapes=SHAPES,
        level_start_index=torch.tensor([0, 48]),
    )
    return module, inputs


def test_module_uses_the_patched_function(monkeypatch):
    if not patch_ms_deform_attn():
        pytest.skip("mmcv's compiled extension is in use")
    module, inputs = make_module_and_inputs()
    fast = module(**inputs)
    monkeypatch.setattr(mmcv_module, 'multi_scale_deformable_attn_pytorch', ms_deform_attn_reference)
    torch.testing.assert_close(fast, module(**inputs))


def test_function_form_has_the_same_result():
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(1, 60, 2, 4, generator=generator)
    locations = torch.rand(1, 5, 2, 2, 3, 2, generator=generator)
    weights = torch.rand(1, 5, 2, 2, 3, generator=generator)
    out = mmcv_msda.MultiScaleDeformableAttnFunction.apply(
        value, SHAPES, torch.tensor([0, 48]), locations, weights, 64
    )
    torch.testing.assert_close(out, ms_deform_attn_reference(value, SHAPES, locations, weights))


def test_locations_stay_fp32_under_autocast(monkeypatch):
    if not patch_ms_deform_attn():
        pytest.skip("mmcv's compiled extension is in use")
    seen = []

    def record(value, spatial_shapes, locations, weights, *args):
        seen.append((value.dtype, locations.dtype))
        return ms_deform_attn_reference(value, spatial_shapes, locations, weights)

    monkeypatch.setattr(mmcv_msda, 'ms_deform_attn', record)
    module, inputs = make_module_and_inputs()
    with torch.autocast('cpu', torch.bfloat16):
        module(**inputs)
    assert seen == [(torch.bfloat16, torch.float32)]


def test_compiled_extension_is_left_alone():
    compiled = types.SimpleNamespace(ms_deform_attn_forward=None)
    module = types.SimpleNamespace(ext_module=compiled, multi_scale_deformable_attn_pytorch='original')
    assert not patch_ms_deform_attn(module)
    assert module.multi_scale_deformable_attn_pytorch == 'original'
