"""Convolutions for channels-last maps on CPUs: the same results as `nn.Conv2d`, and `nn.Conv2d` wherever it must be."""

import copy
import pickle

import pytest
import torch
from torch import nn

from detrove.benchmark.flops import count_flops
from detrove.layers import CPUConv2d, cpu_conv, use_channels_last
from detrove.layers.conv import ConvNormAct, FrozenNorm, RepVGGBlock, fuse_for_inference
from detrove.layers.memory import map_of_tokens, tokens_of_map
from detrove.ops.export_form import export_form
from detrove.ops.winograd import compiled_winograd_conv2d, transform_weight

LAST = torch.channels_last
TELLS_EXPORT = cpu_conv._COMPILER_TELLS_EXPORT  # without that, compiled models keep torch's convolutions


def images(*shape, requires_grad=False):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return values.to(memory_format=LAST).requires_grad_(requires_grad)


def convolution(*args, **kwargs):
    torch.manual_seed(1)
    return use_channels_last(nn.Conv2d(*args, **kwargs), on_cpu=True)


@pytest.fixture
def forms(monkeypatch):
    """Names of the faster forms that have been taken, that of gradients of weights also for little work."""
    taken = []
    monkeypatch.setattr(cpu_conv, '_MULTIPLICATIONS', 0)
    holders = dict(winograd=(cpu_conv, 'winograd_conv2d'), pointwise=(cpu_conv._PointwiseConv2d, 'apply'),
                   windows=(cpu_conv._ChannelsLastConv2d, 'apply'))
    for form, (holder, name) in holders.items():
        original = getattr(holder, name)
        monkeypatch.setattr(holder, name, lambda *args, _of=original, _form=form, **kwargs: (
            taken.append(_form), _of(*args, **kwargs))[1])
    return taken


@pytest.mark.parametrize(('arguments', 'size', 'form'), [
    (dict(in_channels=64, out_channels=70, kernel_size=3, padding=1), (4, 13, 22), 'winograd'),
    (dict(in_channels=64, out_channels=64, kernel_size=3, padding=1, bias=False), (1, 29, 30), 'winograd'),
    (dict(in_channels=64, out_channels=64, kernel_size=3, padding=1), (1, 13, 24), 'winograd'),  # 24 tiles
    (dict(in_channels=64, out_channels=64, kernel_size=3, padding=1), (1, 4, 92), 'windows'),  # 23: too few
    (dict(in_channels=32, out_channels=64, kernel_size=3, padding=1), (1, 60, 50), 'windows'),
    (dict(in_channels=32, out_channels=8, kernel_size=7, stride=2, padding=3, bias=False), (2, 60, 60), 'windows'),
    (dict(in_channels=3, out_channels=8, kernel_size=7, stride=2, padding=3, bias=False), (2, 60, 60), 'windows'),
    (dict(in_channels=40, out_channels=4, kernel_size=3, padding=2, dilation=2), (1, 60, 51), 'windows'),
    (dict(in_channels=40, out_channels=4, kernel_size=1, stride=2), (2, 61, 60), 'windows'),
    (dict(in_channels=40, out_channels=12, kernel_size=1), (2, 60, 51), 'pointwise'),
    (dict(in_channels=64, out_channels=64, kernel_size=3, padding=1, groups=64), (1, 60, 60), None),
    (dict(in_channels=64, out_channels=64, kernel_size=3, padding=1, padding_mode='reflect'), (1, 60, 60), None),
    (dict(in_channels=64, out_channels=64, kernel_size=3, padding='same'), (1, 60, 60), None),
])
def test_equals_conv2d(forms, arguments, size, form):
    module = convolution(**arguments)
    plain = nn.Conv2d(**arguments).double()
    plain.load_state_dict(module.state_dict())
    x = images(size[0], arguments['in_channels'], *size[1:], requires_grad=True)
    exact = x.detach().double().requires_grad_()
    out, expected = module(x), plain(exact)
    assert forms == [form] * (form is not None)
    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad.double())
    for ours, theirs in ((out, expected), (x.grad, exact.grad), (module.weight.grad, plain.weight.grad)):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5 * theirs.detach().abs().max().item())
    if module.bias is not None:
        torch.testing.assert_close(module.bias.grad.double(), plain.bias.grad, rtol=1e-4, atol=1e-3)
    assert all(of.is_contiguous(memory_format=LAST) for of in (out, x.grad, module.weight.grad))


@pytest.mark.parametrize(('side', 'form'), [(240, []), (241, ['windows'])])
def test_little_work_stays_with_torch(forms, monkeypatch, side, form):
    monkeypatch.setattr(cpu_conv, '_MULTIPLICATIONS', 120**2 * 4 * 6 * 9 + 1)
    convolution(4, 6, 3, stride=2, padding=1)(images(1, 4, side, side))
    assert forms == form


@pytest.mark.filterwarnings('ignore:.*torch.jit.trace')
@pytest.mark.parametrize(
    'case', ['channels first', 'float64', 'bfloat16', 'autocast', 'no image', 'exporting', 'traced'])
def test_is_conv2d_elsewhere(forms, case):
    module, x = convolution(64, 64, 3, padding=1), images(0 if case == 'no image' else 1, 64, 32, 32)
    plain = nn.Conv2d(64, 64, 3, padding=1)
    plain.load_state_dict(module.state_dict())
    if case == 'channels first':
        x = x.contiguous()
    if case in ('float64', 'bfloat16'):
        module, plain, x = (of.to(getattr(torch, case)) for of in (module, plain, x))
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=case == 'autocast'):
        if case == 'exporting':
            with export_form():
                out = module(x)
        else:
            out = torch.jit.trace(module, x, check_trace=False)(x) if case == 'traced' else module(x)
        expected = plain(x)
    torch.testing.assert_close(out, expected)
    assert forms == []


@pytest.mark.parametrize('strict', [False, True])
def test_exported_programs_hold_a_convolution(forms, strict):
    module, x = convolution(128, 128, 3, padding=1).eval(), images(1, 128, 32, 32)
    module.prepare_for_inference()
    with torch.no_grad():
        exported = torch.export.export(module, (x,), strict=strict)
    assert 'conv2d' in str(exported.graph) and 'winograd' not in str(exported.graph) and forms == []
    module(x)
    assert forms == ['winograd']


@pytest.mark.parametrize('bias', [True, False])
def test_compiled_models_call_what_was_prepared(bias):
    graphs = []

    def backend(graph, _):
        graphs.append(str(graph.graph))
        return graph.forward

    torch._dynamo.reset()
    module = convolution(64, 70, 3, padding=1, bias=bias).eval().requires_grad_(False)
    compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=True)
    for prepared in (False, True):
        if prepared:
            module.prepare_for_inference()
        for side in (32, 29):
            x = images(2, 64, side, side)
            torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
        assert len(graphs) == 1 + prepared and ('winograd' in graphs[-1]) == (prepared and TELLS_EXPORT)
    with pytest.raises(RuntimeError, match='element 0 of tensors does not require grad'):
        compiled(x).sum().backward()  # the gradient of x is not asked for
    x = x.requires_grad_()
    compiled(x).sum().backward()  # where it is, the form for training is taken
    assert x.grad is not None and 'winograd' not in graphs[-1]


@pytest.mark.parametrize('layout', [LAST, torch.contiguous_format], ids=['last', 'first'])
def test_operator_for_compilers(layout):
    module, x = convolution(64, 70, 3, padding=1).requires_grad_(False), images(2, 64, 13, 9).to(memory_format=layout)
    arguments = x, module.weight, module.bias, transform_weight(module.weight)
    torch.library.opcheck(compiled_winograd_conv2d, arguments)
    torch.library.opcheck(compiled_winograd_conv2d, (*arguments[:2], None, arguments[3]))


def test_operations_are_those_of_a_convolution(forms):
    module, x = convolution(128, 128, 3, padding=1), images(1, 128, 32, 32)
    with torch.no_grad():
        assert count_flops(lambda: module(x)) == 2 * 32 * 32 * 128 * 128 * 9
    assert forms == []


def test_weights_transformed_for_inference(forms):
    module = convolution(128, 128, 3, padding=1).eval()
    x = images(1, 128, 6, 6)  # too few tiles to transform weights for this map alone
    with torch.no_grad():
        expected = module(x)
        module.prepare_for_inference()
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)
        assert forms == ['winograd'] and list(module.state_dict()) == ['weight', 'bias']
        for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(copied(x), module(x))
        other = {name: 2 * value for name, value in module.state_dict().items()}
        module.load_state_dict(other)
        torch.testing.assert_close(module(x), 2 * expected)
        module.prepare_for_inference()
        torch.testing.assert_close(module(x), 2 * expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module.double()(x.double()).float(), 2 * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('kernel_size', 'channels'), [(3, 64), (3, 32), (1, 32)])
def test_what_follows_may_write_in_place(forms, kernel_size, channels):
    """As ReLU does in mmcv's blocks without a norm."""
    module = convolution(channels, channels, kernel_size, padding=kernel_size // 2)
    x = images(1, channels, 60, 60, requires_grad=True)
    expected = torch.autograd.grad(torch.relu(module(x)).square().sum(), [x, *module.parameters()])
    out = module(x)
    found = torch.autograd.grad(torch.relu_(out.add_(1).sub_(1)).square().sum(), [x, *module.parameters()])
    assert len(forms) == 2
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


def test_same_bits_twice_and_with_deterministic_algorithms():
    module, x = convolution(64, 64, 3, padding=1), images(2, 64, 40, 40, requires_grad=True)
    runs = []
    try:
        for deterministic in (False, True):  # which fills fresh memory with NaN
            torch.use_deterministic_algorithms(deterministic)
            out = module(x)
            runs.append([out, *torch.autograd.grad(out.square().sum(), [x, *module.parameters()])])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *runs))


def test_other_kinds_of_convolutions_and_other_devices_stay():
    class Own(nn.Conv2d):
        pass

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Own(4, 4, 1), nn.ConvTranspose2d(4, 4, 1))
    names = list(model.state_dict())
    assert [type(module) for module in use_channels_last(model, on_cpu=False)] == [nn.Conv2d, Own, nn.ConvTranspose2d]
    assert [type(module) for module in use_channels_last(model, on_cpu=True)] == [CPUConv2d, Own, nn.ConvTranspose2d]
    assert list(model.state_dict()) == names and isinstance(model[0], nn.Conv2d)


def test_fused_blocks(forms):
    torch.manual_seed(0)
    model = nn.Sequential(ConvNormAct(8, 128, 3, act='relu'), RepVGGBlock(128), ConvNormAct(128, 4, 1)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean), nn.init.uniform_(module.weight)
    x = images(2, 8, 24, 24)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(fuse_for_inference(model)(x), expected, rtol=1e-4, atol=1e-5)
    assert forms == ['winograd']


def test_frozen_norm():
    norm, plain = FrozenNorm(5), nn.BatchNorm2d(5).eval()
    for value in (plain.weight, plain.bias, plain.running_mean, plain.running_var):
        nn.init.uniform_(value, 0.5, 2)
    norm.load_state_dict({name: value for name, value in plain.state_dict().items() if name != 'num_batches_tracked'})
    x = images(2, 5, 3, 4, requires_grad=True)
    torch.testing.assert_close(norm(x), plain(x))
    torch.testing.assert_close(*(torch.autograd.grad(of(x).square().sum(), x) for of in (norm, plain)))


@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('layout', [torch.contiguous_format, LAST])
def test_maps_keep_their_layout_through_tokens(batch, layout):
    """And their gradients, which batch norm reads."""
    def run(dtype):
        norm = nn.BatchNorm2d(6).to(dtype)
        x = torch.randn(batch, 6, 5, 7, generator=torch.Generator().manual_seed(2)).to(dtype, memory_format=layout)
        x.requires_grad_()
        feat = norm(x)
        tokens = tokens_of_map(feat).transpose(0, 1).contiguous().transpose(0, 1)  # as attention leaves them
        again = map_of_tokens(tokens, feat)
        weight = torch.linspace(0, 1, again.numel(), dtype=dtype).view(again.shape)
        (again.tanh() * weight).sum().backward()
        return feat, again, x.grad

    feat, again, grad = run(torch.float32)
    assert torch.equal(feat, again) and again.is_contiguous(memory_format=layout)
    torch.testing.assert_close(grad.double(), run(torch.float64)[2], rtol=1e-4, atol=1e-5)
