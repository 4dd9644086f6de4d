"""The Triton kernels, run by Triton's interpreter on the CPU, against the PyTorch path; and that they compile."""

import sys

import pytest
import torch

from detrove.ops import triton_support
from detrove.ops.ms_deform_attn import triton_kernels

pytest.importorskip('triton')

# Levels of different sizes, locations outside on every side, more queries than fit into one program, channels that are
# no power of two. The public function is used, so that its autograd is part of what is compared.
COMPARE = '''
    import importlib
    import torch
    op = importlib.import_module('detrove.ops.ms_deform_attn')
    kernels = importlib.import_module('detrove.ops.ms_deform_attn_triton')
    shapes, num_points = ((5, 7), (3, 4), (1, 2)), (2, 1, 1)
    for dtype, head_dim, queries, tolerance in (
            (torch.float32, 24, 33, 2e-5), (torch.bfloat16, 16, 3, 2e-2)):
        torch.manual_seed(0)
        value = torch.randn(2, 49, 2, head_dim).to(dtype).requires_grad_()
        locations = (torch.rand(2, queries, 2, 4, 2) * 1.6 - 0.3).requires_grad_()
        weights = torch.rand(2, queries, 2, 4).requires_grad_()
        grad = torch.randn(2, queries, 2 * head_dim).to(dtype)
        results = []
        for path in (lambda value: kernels, lambda value: None):
            op.triton_kernels = path
            out = op.ms_deform_attn(value, shapes, locations, weights, num_points)
            assert out.dtype == dtype
            results.append((out, *torch.autograd.grad(out, (value, locations, weights), grad)))
        for ours, expected in zip(*results):
            error = (ours.double() - expected.double()).abs().max() / expected.double().abs().max()
            assert error < tolerance, (dtype, float(error))
    op.triton_kernels = lambda value: kernels
    locations = torch.tensor([float('nan'), 0.5, 1e30, 0.5, float('-inf'), 0.5]).view(1, 3, 1, 1, 2)
    out = op.ms_deform_attn(torch.ones(1, 35, 1, 4), ((5, 7),), locations, torch.ones(1, 3, 1, 1), (1,))[0, :, 0]
    assert out[0].isnan() and out[1] == 0 and not out[2] > 0, out
    print('equal')
'''

COMPILE = '''
    import torch, triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from detrove.ops import ms_deform_attn_triton as kernels
    for kernel, outputs in ((kernels._forward_kernel, ['out']),
                            (kernels._backward_kernel, ['grad_value', 'grad_locations', 'grad_weights'])):
        kinds = dict(value='*bf16', grad='*bf16', out='*bf16', start='*i32')
        signature = {}
        for name in kernel.arg_names:
            is_tensor = name in {*outputs, 'grad', 'value', 'locations', 'weights', 'width', 'height', 'start'}
            number = 'constexpr' if name.startswith('BLOCK') else 'i32'
            signature[name] = kinds.get(name, '*fp32') if is_tensor else number
        constants = {'BLOCK_Q': kernels.QUERIES_PER_PROGRAM, 'BLOCK_D': 32}
        source = ASTSource(kernel, signature, constants)
        triton.compile(source, target=GPUTarget('cuda', 90, 32), options={'num_warps': kernels.NUM_WARPS})
    print('compiled')
'''


def test_equals_the_other_path(run_python):
    assert 'equal' in run_python(COMPARE, env={'TRITON_INTERPRET': '1'}).stdout


@pytest.mark.slow
def test_compiles_for_gpus_that_are_not_here(run_python, tmp_path):
    assert 'compiled' in run_python(COMPILE, env={'TRITON_CACHE_DIR': str(tmp_path / 'cache')}).stdout


class OnCuda:
    """As much of a tensor as the choice of a path looks at."""

    def __init__(self, dtype=torch.float32):
        self.device, self.dtype = torch.device('cuda'), dtype


def test_stands_back(monkeypatch):
    """For the CPU and for double precision, where torch is to be deterministic, and where it is switched off."""
    monkeypatch.setattr(triton_support, 'triton_obstacle', lambda: 'switched off')
    assert triton_kernels(OnCuda()) is None
    monkeypatch.setattr(triton_support, 'triton_obstacle', lambda: None)
    assert triton_kernels(torch.empty(0)) is None
    assert triton_kernels(OnCuda()) is sys.modules['detrove.ops.ms_deform_attn_triton']
    assert triton_kernels(OnCuda(torch.float64)) is None
    torch.use_deterministic_algorithms(True)
    try:
        assert triton_kernels(OnCuda()) is None
    finally:
        torch.use_deterministic_algorithms(False)


def test_obstacles(monkeypatch):
    obstacle = triton_support.triton_obstacle.__wrapped__
    monkeypatch.setattr('shutil.which', lambda name: '/usr/bin/cc')
    monkeypatch.delenv('DETROVE_TRITON', raising=False)
    assert obstacle() is None
    monkeypatch.setenv('DETROVE_TRITON', '0')
    assert 'DETROVE_TRITON' in obstacle()
    monkeypatch.delenv('DETROVE_TRITON')
    monkeypatch.delenv('CC', raising=False)
    monkeypatch.setattr('shutil.which', lambda name: None)
    assert 'compiler' in obstacle()
