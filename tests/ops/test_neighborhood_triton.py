"""The Triton kernels, run by Triton's interpreter on the CPU, against the reference; and that they compile."""

import pytest
import torch

from detrove.ops import neighborhood_attention, neighborhood_fused, triton_support
from detrove.ops.neighborhood_fused import fused_refusal

pytest.importorskip('triton')

# Groups of uneven length, windows and dilations that are not square, tiles that lie partly outside, with a bias and
# without. Triton's interpreter cannot multiply matrices of bfloat16.
COMPARE = '''
    import torch
    from detrove.ops import neighborhood_attention
    from detrove.ops.neighborhood_attention import neighborhood_attention_reference
    import sys
    module = sys.modules['detrove.ops.neighborhood_attention']
    module.fused_refusal = lambda query, value: None
    for height, width, kernel, dilation, head_dim, dtype, with_bias, tolerance in (
            (7, 11, (3, 5), (2, 1), 8, torch.float32, True, 2e-6),
            (9, 4, 3, 1, 20, torch.float16, False, 2e-3)):
        torch.manual_seed(0)
        inputs = [torch.randn(2, height, width, 1, head_dim).to(dtype).requires_grad_() for _ in range(3)]
        if with_bias:
            inputs.append(torch.randn(1, 5, 9).requires_grad_())
        results = []
        for function in (neighborhood_attention, neighborhood_attention_reference):
            out = function(*inputs[:3], kernel, dilation, *inputs[3:])
            assert out.dtype == dtype
            grad = torch.linspace(-1, 1, out.numel()).view_as(out).to(dtype)
            results.append((out, *torch.autograd.grad(out, inputs, grad)))
        for ours, expected in zip(*results):
            error = (ours.double() - expected.double()).abs().max() / expected.double().abs().max()
            assert error < tolerance, (dtype, float(error))
    print('equal')
'''

COMPILE = '''
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from detrove.ops import neighborhood_triton as kernels
    constants = dict(KERNEL_H=7, KERNEL_W=7, TILE=kernels.TILE, BLOCK_K=kernels.KEYS_PER_STEP, BLOCK_D=32,
                     HAS_BIAS=True, PRECISION='tf32')
    half = {'query', 'key', 'value', 'grad', 'out', 'grad_query', 'grad_scores'}
    single = {'bias', 'logsumexp', 'delta', 'grad_key', 'grad_value', 'scale'}
    for kernel, warps in ((kernels._forward_kernel, kernels.FORWARD_WARPS),
                          (kernels._backward_kernel, kernels.BACKWARD_WARPS)):
        signature = {name: 'constexpr' if name in constants else '*bf16' if name in half else 'fp32' if name == 'scale'
                     else '*fp32' if name in single else 'i32' for name in kernel.arg_names}
        source = ASTSource(kernel, signature, constants)
        triton.compile(source, target=GPUTarget('cuda', 90, 32), options={'num_warps': warps})
    print('compiled')
'''


def test_equals_the_reference(run_python):
    assert 'equal' in run_python(COMPARE, env={'TRITON_INTERPRET': '1'}).stdout


@pytest.mark.slow
def test_compiles_for_gpus_that_are_not_here(run_python, tmp_path):
    assert 'compiled' in run_python(COMPILE, env={'TRITON_CACHE_DIR': str(tmp_path / 'cache')}).stdout


class OnCuda:
    """As much of a tensor as the choice of a path looks at."""

    def __init__(self, head_dim=32, dtype=torch.bfloat16):
        self.device, self.dtype, self.shape = torch.device('cuda'), dtype, (1, 8, 8, 2, head_dim)


def test_where_the_kernels_apply(monkeypatch):
    monkeypatch.setattr(triton_support, 'triton_obstacle', lambda: None)
    assert fused_refusal(OnCuda(), OnCuda()) is None
    assert 'cpu' in fused_refusal(torch.empty(1, 8, 8, 2, 32), OnCuda())
    assert 'float64' in fused_refusal(OnCuda(dtype=torch.float64), OnCuda())
    assert 'head sizes 32 and 16' in fused_refusal(OnCuda(), OnCuda(16))
    assert 'head sizes' in fused_refusal(OnCuda(256), OnCuda(256))
    torch.use_deterministic_algorithms(True)
    try:
        assert 'deterministic' in fused_refusal(OnCuda(), OnCuda())
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(triton_support, 'triton_obstacle', lambda: 'no compiler')
    assert fused_refusal(OnCuda(), OnCuda()) == 'no compiler'


def test_choice_breaks_no_graph(monkeypatch):
    """torch.compile takes the obstacle as a constant; the operators have shapes and gradients without being run."""
    torch.manual_seed(0)
    inputs = [torch.randn(1, 5, 5, 2, 4, requires_grad=True) for _ in range(3)]
    compiled = torch.compile(neighborhood_attention, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(*inputs, 3), neighborhood_attention(*inputs, 3))
    with torch.device('meta'):
        query = torch.empty(1, 5, 5, 2, 4, requires_grad=True)
        bias = torch.empty(2, 5, 5, requires_grad=True)
        out, logsumexp = neighborhood_fused.fused_attention(query, query, query, bias, (3, 3), (1, 1), 0.5)
        assert out.shape == query.shape and logsumexp.shape == query.shape[:4]
        grads = torch.autograd.grad(out.sum(), (query, bias))
    assert [grad.shape for grad in grads] == [query.shape, bias.shape]
