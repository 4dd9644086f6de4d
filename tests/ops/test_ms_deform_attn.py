"""ms_deform_attn against a loop over every sample, its own grid_sample form, and finite differences."""

import math

import pytest
import torch

from detrove.ops.ms_deform_attn import _levels, ms_deform_attn, ms_deform_attn_reference

SHAPES = ((5, 7), (3, 4), (1, 2))
NUM_POINTS = (3, 1, 2)
METHODS = ('default', 'discrete')


def make_inputs(batch=2, queries=3, heads=2, dim=4, shapes=SHAPES, points=6, dtype=torch.float64):
    """Locations reach outside the maps on every side."""
    generator = torch.Generator().manual_seed(0)
    tokens = sum(h * w for h, w in shapes)
    value = torch.randn(batch, tokens, heads, dim, generator=generator, dtype=torch.float64)
    locations = torch.rand(batch, queries, heads, points, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(batch, queries, heads, points, generator=generator, dtype=torch.float64)
    return [t.to(dtype).requires_grad_() for t in (value, locations, weights)]


def sample_by_loops(value, shapes, locations, weights, num_points, method):
    batch, _, heads, dim = value.shape
    queries = locations.shape[1]
    levels = [level for level, n in enumerate(num_points) for _ in range(n)]
    starts = [sum(h * w for h, w in shapes[:level]) for level in range(len(shapes))]
    out = torch.zeros(batch, queries, heads, dim, dtype=value.dtype)
    for b in range(batch):
        for q in range(queries):
            for head in range(heads):
                for point, level in enumerate(levels):
                    h, w = shapes[level]
                    x, y = locations[b, q, head, point].tolist()
                    tokens = value[b, starts[level] : starts[level] + h * w, head].view(h, w, dim)
                    if method == 'discrete':
                        column = min(max(int(x * w + 0.5), 0), w - 1)
                        row = min(max(int(y * h + 0.5), 0), h - 1)
                        sample = tokens[row, column]
                    else:
                        x, y = x * w - 0.5, y * h - 0.5
                        sample = torch.zeros(dim, dtype=value.dtype)
                        for row in (math.floor(y), math.floor(y) + 1):
                            for column in (math.floor(x), math.floor(x) + 1):
                                if 0 <= row < h and 0 <= column < w:
                                    share = (1 - abs(x - column)) * (1 - abs(y - row))
                                    sample = sample + share * tokens[row, column]
                    out[b, q, head] += weights[b, q, head, point] * sample
    return out.flatten(2)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('function', [ms_deform_attn, ms_deform_attn_reference])
def test_equals_loops_over_every_sample(function, method):
    value, locations, weights = make_inputs()
    out = function(value, SHAPES, locations, weights, NUM_POINTS, method=method)
    expected = sample_by_loops(value, SHAPES, locations, weights, NUM_POINTS, method)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('method', METHODS)
def test_gradients_equal_those_of_the_reference(method):
    inputs = make_inputs()
    differentiable = inputs if method == 'default' else [inputs[0], inputs[2]]
    grads = []
    for function in (ms_deform_attn, ms_deform_attn_reference):
        out = function(inputs[0], SHAPES, *inputs[1:], NUM_POINTS, method=method)
        grads.append(torch.autograd.grad((out * torch.linspace(-1, 2, out.numel()).view_as(out)).sum(), differentiable))
    for fast, slow in zip(*grads, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)


def test_gradcheck():
    inputs = make_inputs(batch=1, queries=2, dim=2)
    assert torch.autograd.gradcheck(lambda v, loc, w: ms_deform_attn(v, SHAPES, loc, w, NUM_POINTS), inputs)


def test_backward_in_several_slices(monkeypatch):
    inputs = make_inputs(queries=5)
    whole = torch.autograd.grad(ms_deform_attn(inputs[0], SHAPES, *inputs[1:], NUM_POINTS).square().sum(), inputs)
    monkeypatch.setattr('detrove.ops.weighted_rows.CPU_BUFFER_ELEMENTS', 200)
    parts = torch.autograd.grad(ms_deform_attn(inputs[0], SHAPES, *inputs[1:], NUM_POINTS).square().sum(), inputs)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_no_gradient_to_discrete_locations():
    value, locations, weights = make_inputs()
    ms_deform_attn(value, SHAPES, locations, weights, NUM_POINTS, method='discrete').sum().backward()
    assert locations.grad is None
    assert value.grad is not None and weights.grad is not None


def test_six_dimensional_locations_are_the_same_points():
    value, locations, weights = make_inputs()
    flat = ms_deform_attn(value, SHAPES, locations, weights, (2, 2, 2))
    by_level = ms_deform_attn(value, SHAPES, locations.unflatten(3, (3, 2)), weights.unflatten(3, (3, 2)))
    assert torch.equal(flat, by_level)


def test_tensor_of_spatial_shapes():
    value, locations, weights = make_inputs()
    from_tuple = ms_deform_attn(value, SHAPES, locations, weights, NUM_POINTS)
    assert torch.equal(from_tuple, ms_deform_attn(value, torch.tensor(SHAPES), locations, weights, NUM_POINTS))


def test_no_queries():
    inputs = make_inputs(queries=0)
    out = ms_deform_attn(inputs[0], SHAPES, *inputs[1:], NUM_POINTS)
    assert out.shape == (2, 0, 8)
    for grad, x in zip(torch.autograd.grad(out.sum(), inputs), inputs, strict=True):
        assert grad.shape == x.shape and not grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_value_keeps_locations_exact(dtype):
    """The only error is the rounding of the result; what locations in half would add is far larger."""
    shapes = ((100, 100),)
    value, locations, weights = make_inputs(shapes=shapes, points=8, dtype=torch.float32)
    half_value = value.detach().to(dtype).requires_grad_()
    exact = ms_deform_attn(half_value.detach().double(), shapes, locations.double(), weights.double(), (8,))
    out = ms_deform_attn(half_value, shapes, locations, weights, (8,))
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-4)
    grads = torch.autograd.grad(out.float().sum(), [half_value, locations, weights])
    assert [g.dtype for g in grads] == [dtype, torch.float32, torch.float32]


def test_half_locations_are_accepted():
    value, locations, weights = make_inputs(dtype=torch.bfloat16)
    out = ms_deform_attn(value, SHAPES, locations, weights, NUM_POINTS)
    out.float().sum().backward()
    assert out.dtype == value.grad.dtype == locations.grad.dtype == weights.grad.dtype == torch.bfloat16


def test_nan_location_shows_in_its_own_query_only():
    value, locations, weights = make_inputs()
    broken = locations.detach().clone()
    broken[0, 1, 0, 2, 0] = math.nan
    out = ms_deform_attn(value, SHAPES, broken, weights, NUM_POINTS)
    assert out[0, 1, :4].isnan().all()
    assert out.isnan().sum() == 4


def test_inference_mode_before_training():
    """Per-size constants are cached; those made in inference mode must serve a backward later."""
    _levels.cache_clear()
    inputs = make_inputs()
    with torch.inference_mode():
        ms_deform_attn(inputs[0], SHAPES, *inputs[1:], NUM_POINTS)
    ms_deform_attn(inputs[0], SHAPES, *inputs[1:], NUM_POINTS).sum().backward()


def test_custom_op_contract():
    value, locations, weights = make_inputs()
    shapes = [size for shape in SHAPES for size in shape]
    for discrete in (False, True):
        torch.library.opcheck(
            torch.ops.detrove.ms_deform_attn.default,
            (value, shapes, list(NUM_POINTS), locations, weights, discrete),
            test_utils=('test_schema', 'test_autograd_registration', 'test_faketensor'),
        )


def test_compiles_without_graph_break():
    def step(value, locations, weights):
        return ms_deform_attn(value * 2, SHAPES, locations, weights, NUM_POINTS).relu()

    inputs = make_inputs()
    eager = torch.autograd.grad(step(*inputs).sum(), inputs)
    compiled = torch.compile(step, fullgraph=True, backend='aot_eager')
    for a, b in zip(eager, torch.autograd.grad(compiled(*inputs).sum(), inputs), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings('ignore:Converting a tensor', 'ignore:`torch.jit.trace')
def test_tracing_sees_plain_operators():
    """Exporters and FLOP counters trace; a custom operator would be opaque to them."""
    inputs = tuple(t.detach() for t in make_inputs())
    traced = torch.jit.trace(lambda v, loc, w: ms_deform_attn(v, SHAPES, loc, w, NUM_POINTS), inputs)
    kinds = {node.kind() for node in traced.graph.nodes()}
    assert 'aten::grid_sampler' in kinds and 'detrove::ms_deform_attn' not in kinds
    torch.testing.assert_close(traced(*inputs), ms_deform_attn(inputs[0], SHAPES, *inputs[1:], NUM_POINTS))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(method='nearest'), "method='nearest'"),
        (dict(spatial_shapes=((5, 7), (3, 4), (1, 3))), 'value has 49 tokens'),
        (dict(spatial_shapes=((7, 7),)), '3 levels, but spatial_shapes lists 1'),
        (dict(num_points=(3, 1)), 'K = 4'),
        (dict(num_points=None), 'pass num_points'),
        (dict(value=torch.zeros(2, 49, 3, 4)), r'expected \(2, Q, 3, ..., 2\)'),
        (dict(value=torch.zeros(49, 3, 4)), r'expected \(B, S, H, D\)'),
        (dict(attention_weights=torch.zeros(2, 3, 2, 5)), r'attention_weights has shape \(2, 3, 2, 5\)'),
    ],
)
@pytest.mark.parametrize('function', [ms_deform_attn, ms_deform_attn_reference])
def test_shapes_that_do_not_fit(function, change, message):
    value, locations, weights = make_inputs()
    arguments = dict(
        value=value,
        spatial_shapes=SHAPES,
        sampling_locations=locations,
        attention_weights=weights,
        num_points=NUM_POINTS,
    )
    with pytest.raises(ValueError, match=message):
        function(**(arguments | change))
