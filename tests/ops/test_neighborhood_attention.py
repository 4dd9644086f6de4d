"""neighborhood_attention against a loop written from the definition, its own gathering form, and finite differences."""

import sys
import types
from importlib import metadata
from itertools import product

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detrove import doctor
from detrove.ops import neighborhood_attention, neighborhood_axes, neighborhood_natten, neighborhood_tiles
from detrove.ops.neighborhood_attention import neighborhood_attention_reference

#: (H, W), kernel_size, dilation: groups of one length and of two, one tile and many, no axis like the other
CASES = [
    ((17, 23), 7, 2),
    ((25, 31), 7, 3),
    ((16, 16), 7, 2),
    ((33, 22), 5, 4),
    ((12, 10), 7, 1),
    ((7, 7), 7, 1),
    ((13, 31), (3, 5), (4, 1)),
    ((40, 11), (7, 3), (1, 3)),
    ((6, 9), (1, 3), (5, 2)),
    ((49, 50), 7, 7),
]


def make_inputs(size_hw, kernel_size, batch=2, heads=2, dim=4, value_dim=None, dtype=torch.float64):
    kernel_h, kernel_w = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 2
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, *size_hw, heads, n) for n in (dim, dim, value_dim or dim)]
    shapes.append((heads, 2 * kernel_h - 1, 2 * kernel_w - 1))
    return [torch.randn(x, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for x in shapes]


def attend_by_loops(query, key, value, kernel_hw, dilation_hw, bias):
    def window(i, length, kernel_size, dilation):
        """(token, place in the bias) of every key along one axis."""
        group = list(range(i % dilation, length, dilation))
        rank = group.index(i)
        start = min(max(rank - kernel_size // 2, 0), len(group) - kernel_size)
        return [(group[j], j - rank + kernel_size - 1) for j in range(start, start + kernel_size)]

    batch, height, width, heads, dim = query.shape
    out = torch.zeros_like(value)
    for b, y, x, head in product(range(batch), range(height), range(width), range(heads)):
        rows = window(y, height, kernel_hw[0], dilation_hw[0])
        columns = window(x, width, kernel_hw[1], dilation_hw[1])
        scores = [
            query[b, y, x, head] @ key[b, row, column, head] / dim**0.5 + bias[head, bias_row, bias_column]
            for (row, bias_row), (column, bias_column) in product(rows, columns)
        ]
        weights = torch.stack(scores).softmax(0)
        for weight, ((row, _), (column, _)) in zip(weights, product(rows, columns), strict=True):
            out[b, y, x, head] += weight * value[b, row, column, head]
    return out


@pytest.mark.parametrize('function', [neighborhood_attention, neighborhood_attention_reference])
@pytest.mark.parametrize(
    ('size_hw', 'kernel_hw', 'dilation_hw'),
    [((7, 8), (3, 3), (2, 1)), ((5, 6), (5, 5), (1, 1)), ((9, 11), (3, 5), (3, 2)), ((3, 9), (1, 3), (2, 1))],
)
def test_equals_loops_over_every_query(function, size_hw, kernel_hw, dilation_hw):
    query, key, value, bias = (x.detach() for x in make_inputs(size_hw, kernel_hw, batch=1, value_dim=3))
    expected = attend_by_loops(query, key, value, kernel_hw, dilation_hw, bias)
    out = function(query, key, value, kernel_hw, dilation_hw, bias)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def outputs_and_gradients(function, inputs, kernel_size, dilation, autocast=False, **options):
    """With bias and without."""
    results = []
    for arguments in (inputs, inputs[:3]):
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            out = function(*arguments[:3], kernel_size, dilation, *arguments[3:], **options)
        grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
        results += [out.detach(), *torch.autograd.grad(out, arguments, grad)]
    return results


@pytest.mark.parametrize('scores_per_chunk', [2**19, 3000])
@pytest.mark.parametrize(('size_hw', 'kernel_size', 'dilation'), CASES)
def test_equals_the_reference(monkeypatch, size_hw, kernel_size, dilation, scores_per_chunk):
    monkeypatch.setattr(neighborhood_tiles, 'CPU_SCORES', scores_per_chunk)
    inputs = make_inputs(size_hw, kernel_size)
    results = outputs_and_gradients(neighborhood_attention, inputs, kernel_size, dilation)
    expected = outputs_and_gradients(neighborhood_attention_reference, inputs, kernel_size, dilation)
    torch.testing.assert_close(results, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('tile_hw', [(1, 1), (2, 5), (8, 3), (9, 12)])
def test_any_tile(monkeypatch, tile_hw):
    monkeypatch.setattr(neighborhood_tiles, 'tile_size', lambda *_: tile_hw)
    inputs = make_inputs((17, 23), 7, batch=1)
    results = outputs_and_gradients(neighborhood_attention, inputs, 7, 2)
    expected = outputs_and_gradients(neighborhood_attention_reference, inputs, 7, 2)
    torch.testing.assert_close(results, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(('dim', 'value_dim'), [(1, 1), (3, 3), (32, 32), (5, 2)])
def test_head_sizes_and_scale(dim, value_dim):
    inputs = make_inputs((11, 15), 5, dim=dim, value_dim=value_dim)
    results = outputs_and_gradients(neighborhood_attention, inputs, 5, 2, scale=0.7)
    expected = outputs_and_gradients(neighborhood_attention_reference, inputs, 5, 2, scale=0.7)
    torch.testing.assert_close(results, expected, rtol=0, atol=1e-10)


def test_gradcheck():
    inputs = make_inputs((4, 7), 3, batch=1, heads=1, dim=2)
    assert torch.autograd.gradcheck(lambda q, k, v, b: neighborhood_attention(q, k, v, 3, (1, 2), b), inputs)


def test_not_contiguous():
    projected = torch.randn(2, 9, 8, 3 * 2 * 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    query, key, value = projected.unflatten(-1, (3, 2, 4)).unbind(3)
    bias = torch.randn(5, 2, 5, generator=torch.Generator().manual_seed(1)).transpose(0, 1)
    grads = []
    for function in (neighborhood_attention, neighborhood_attention_reference):
        out = function(query, key, value, 3, 2, bias)
        grads += torch.autograd.grad(out.transpose(1, 2).sum((0, 3)).square().sum(), projected)
    torch.testing.assert_close(*grads)


TOLERANCES = [(torch.float32, 1e-5), (torch.bfloat16, 1.6e-2), (torch.float16, 2e-3)]


@pytest.mark.parametrize(('dtype', 'tolerance'), TOLERANCES)
@pytest.mark.parametrize('function', [neighborhood_attention, neighborhood_attention_reference])
def test_precision(function, dtype, tolerance):
    """Half inputs are used exactly, autocast or not: only the results are rounded. The bias keeps its own dtype."""
    *maps, bias = make_inputs((14, 12), 5, dtype=dtype)
    inputs = [*maps, bias.detach().float().requires_grad_()]
    results = outputs_and_gradients(function, inputs, 5, 2, autocast=True)
    wide = [x.detach().double().requires_grad_() for x in inputs]
    expected = outputs_and_gradients(neighborhood_attention_reference, wide, 5, 2)
    assert [x.dtype for x in results] == [*[dtype] * 4, torch.float32, *[dtype] * 4]
    for result, exact in zip(results, expected, strict=True):
        torch.testing.assert_close(result.double(), exact, rtol=tolerance, atol=tolerance)


class LargestTensor(TorchDispatchMode):
    """Bytes of the largest tensor that any PyTorch operator returns."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self.bytes = max(self.bytes, x.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize('dilation', [1, 5])
def test_memory_does_not_grow_faster_than_the_maps(monkeypatch, dilation):
    monkeypatch.setattr(neighborhood_tiles, 'CPU_SCORES', 2**14)
    largest = []
    for length in (40, 80, 160):
        *maps, bias = make_inputs((40, length), 7, batch=1, dim=8, dtype=torch.float32)
        # Operators called inside a custom operator are seen where it is called without its wrapper.
        tiling = neighborhood_tiles.Tiling(maps[0], (7, 7), (dilation, dilation))
        arguments = *[x.detach() for x in maps], bias.detach(), (7, 7), (dilation, dilation), 1.0
        with torch.no_grad(), LargestTensor() as seen:
            neighborhood_tiles.attend(*arguments)
            neighborhood_tiles.attend_backward(torch.ones_like(maps[2]), *arguments)
        assert len(list(tiling.chunks())) > 1
        row = tiling.num_tiles_hw[1] * tiling.num_queries * tiling.num_keys * 4
        assert seen.bytes <= max(2 * maps[0].nbytes, row, 2**14 * 4)
        largest.append(seen.bytes)
    assert largest[2] < 2.2 * largest[1] < 2.2 * 2.2 * largest[0]


@pytest.mark.parametrize('with_bias', [True, False])
def test_compiles_without_graph_break(with_bias):
    inputs = make_inputs((9, 10), 3, dim=2)[: 3 + with_bias]

    def attend(query, key, value, bias=None):
        return neighborhood_attention(query, key, value, 3, 2, bias).square()

    out = attend(*inputs)
    compiled = torch.compile(attend, backend='aot_eager', fullgraph=True)(*inputs)
    torch.testing.assert_close(compiled, out)
    torch.testing.assert_close(
        torch.autograd.grad(compiled.sum(), inputs), torch.autograd.grad(out.sum(), inputs), rtol=0, atol=1e-12
    )


def test_operator_contract():
    for bias in (True, False):
        query, key, value, table = make_inputs((6, 7), 3, dim=2)
        torch.library.opcheck(
            neighborhood_tiles.tiled_attention, (query, key, value, table if bias else None, (3, 3), (2, 1), 0.5)
        )


def test_exporters_see_the_reference():
    query, key, value, bias = (x.detach() for x in make_inputs((6, 7), 3))
    traced = torch.jit.trace(lambda *x: neighborhood_attention(*x[:3], 3, 1, x[3]), (query, key, value, bias))
    assert 'detrove::' not in str(traced.graph)
    torch.testing.assert_close(traced(query, key, value, bias), neighborhood_attention(query, key, value, 3, 1, bias))


def test_deterministic():
    inputs = make_inputs((29, 26), 7, dtype=torch.float32)
    first, second = (outputs_and_gradients(neighborhood_attention, inputs, 7, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_batch_equals_single_images():
    *maps, bias = make_inputs((15, 9), 3, batch=3)
    batched = neighborhood_attention(*maps, 3, 2, bias)
    single = [neighborhood_attention(*(x[i : i + 1] for x in maps), 3, 2, bias) for i in range(3)]
    torch.testing.assert_close(batched, torch.cat(single), rtol=0, atol=1e-14)


def test_empty_batch():
    inputs = make_inputs((8, 9), 3, batch=0)
    out, *grads = outputs_and_gradients(neighborhood_attention, inputs, 3, 2)[:5]
    assert out.shape == inputs[2].shape
    assert [x.shape for x in grads] == [x.shape for x in inputs]
    assert not grads[3].any()


def test_tables_of_a_call_in_inference_mode_serve_training():
    neighborhood_axes.axis_tiles.cache_clear()
    inputs = make_inputs((8, 9), 3)
    with torch.inference_mode():
        neighborhood_attention(*inputs[:3], 3, 2, inputs[3])
    neighborhood_attention(*inputs[:3], 3, 2, inputs[3]).sum().backward()
    assert neighborhood_axes.axis_tiles.cache_info().hits


def test_a_value_that_is_not_finite_stays_in_its_tiles():
    query, key, value, bias = (x.detach() for x in make_inputs((40, 40), 3))
    value[0, 0, 0] = float('nan')
    out = neighborhood_attention(query, key, value, 3, 1, bias)
    assert out[0, 20:, 20:].isfinite().all()
    assert out[1].isfinite().all()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(kernel_size=4), 'kernel_size=4, expected odd'),
        (dict(kernel_size=(3, 3, 3)), r'kernel_size=\(3, 3, 3\), expected a positive int or \(h, w\)'),
        (dict(dilation=0), 'dilation=0, expected a positive int'),
        (dict(dilation=3), 'height 8, but kernel_size 3 with dilation 3 needs at least 9'),
        (dict(kernel_size=(3, 11), relative_position_bias=None), 'width 9, but kernel_size 11'),
        (dict(kernel_size=5), r'relative_position_bias has shape \(2, 5, 5\), expected \(2, 9, 9\)'),
        (dict(query=torch.zeros(8, 9, 2, 4)), r'query has shape \(8, 9, 2, 4\)'),
        (dict(key=torch.zeros(2, 8, 9, 2, 3)), r'key \(2, 8, 9, 2, 3\), expected'),
        (dict(value=torch.zeros(2, 9, 8, 2, 4)), r'value has shape \(2, 9, 8, 2, 4\)'),
        (dict(value=torch.zeros(2, 8, 9, 2, 4)), 'expected one dtype'),
    ],
)
def test_errors(change, message):
    query, key, value, bias = make_inputs((8, 9), 3)
    arguments = dict(query=query, key=key, value=value, kernel_size=3, relative_position_bias=bias)
    for function in (neighborhood_attention, neighborhood_attention_reference):
        with pytest.raises(ValueError, match=message):
            function(**{**arguments, **change})


@pytest.fixture
def natten(monkeypatch):
    """A stand-in for NATTEN that records its calls; no test here runs the real one."""
    package, functional = types.ModuleType('natten'), types.ModuleType('natten.functional')
    package.HAS_LIBNATTEN, package.calls, package.version = True, [], '0.21.7+torch2120cu130'

    def na2d(query, key, value, **options):
        package.calls.append(options)
        return value.clone()

    functional.na2d = na2d
    monkeypatch.setitem(sys.modules, 'natten', package)
    monkeypatch.setitem(sys.modules, 'natten.functional', functional)
    installed = metadata.version
    monkeypatch.setattr(metadata, 'version', lambda name: package.version if name == 'natten' else installed(name))
    neighborhood_natten._find_na2d.cache_clear()
    yield package
    neighborhood_natten._find_na2d.cache_clear()


def cuda_maps(dtype=torch.float16, dim=8):
    """Tensors without data that say that they are on a GPU."""
    with FakeTensorMode():
        return [torch.empty(2, 8, 9, 2, dim, dtype=dtype, device='cuda') for _ in range(3)]


@pytest.mark.parametrize('version', ['0.17.5+torch250cu124', '0.20.1', '0.21.7'])
def test_natten_is_called_where_it_applies(natten, version):
    natten.version = version
    if version.startswith('0.17'):
        del natten.HAS_LIBNATTEN
        natten.has_cuda = lambda: True
    neighborhood_attention(*cuda_maps(), 3, (2, 1))
    assert natten.calls == [dict(kernel_size=(3, 3), dilation=(2, 1), scale=8**-0.5)]
    assert neighborhood_natten.natten_status() == f'NATTEN {version} for half precision on CUDA without bias'


@pytest.mark.parametrize(
    ('maps', 'kernel_hw', 'bias', 'reason'),
    [
        (cuda_maps(), (3, 3), torch.zeros(2, 5, 5), 'bias'),
        (cuda_maps(torch.float32), (3, 3), None, 'dtype'),
        (cuda_maps(dim=12), (3, 3), None, 'head sizes'),
        (cuda_maps(), (1, 3), None, 'kernel size'),
        ([torch.zeros(1, 8, 9, 2, 8).half()] * 3, (3, 3), None, 'device cpu'),
    ],
)
def test_natten_is_not_called_elsewhere(natten, maps, kernel_hw, bias, reason):
    assert reason in neighborhood_natten.natten_refusal(maps[0], maps[2], kernel_hw, bias)


@pytest.mark.parametrize(
    ('version', 'has_kernels', 'reason'),
    [('0.14.6', True, 'not used'), ('0.22.0', True, 'not used'), ('0.21.7', False, 'no CUDA kernels')],
)
def test_natten_that_does_not_fit(natten, version, has_kernels, reason):
    natten.version, natten.HAS_LIBNATTEN = version, has_kernels
    assert reason in neighborhood_natten.natten_refusal(*cuda_maps()[:2], (3, 3), None)
    assert reason in neighborhood_natten.natten_status()


def test_natten_can_be_switched_off(natten):
    neighborhood_natten.allow_natten(False)
    try:
        assert 'switched off' in neighborhood_natten.natten_refusal(*cuda_maps()[:2], (3, 3), None)
        assert neighborhood_natten.natten_status() == 'NATTEN switched off'
    finally:
        neighborhood_natten.allow_natten(True)


def test_doctor_names_the_implementation():
    report = doctor.Report()
    doctor._examine_ops(report)
    assert report.ops['neighborhood_attention'].startswith('PyTorch; on CUDA Triton')
