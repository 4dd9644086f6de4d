"""mmcv's SyncBatchNorm functions are torch's batch norm; over two processes, that of the joined batch."""

import pytest
import torch
from mmcv import _ext
from mmcv.ops.sync_bn import SyncBatchNormFunction


def batch_norm(channels):
    norm = torch.nn.BatchNorm2d(channels, momentum=0.2)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    return norm


@pytest.mark.parametrize('stats_mode', ['default', 'N'])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float16, 2e-2)])
def test_equals_batch_norm(stats_mode, dtype, tolerance):
    torch.manual_seed(0)
    expected_norm = batch_norm(3)
    x = torch.randn(4, 3, 5, 6).to(dtype).requires_grad_()
    weight, bias = (p.detach().clone().requires_grad_() for p in (expected_norm.weight, expected_norm.bias))
    mean, var = torch.zeros(3), torch.ones(3)

    out = SyncBatchNormFunction.apply(x, mean, var, weight, bias, 0.2, 1e-5, None, 1, stats_mode)
    reference = x.detach().float().requires_grad_()
    expected = expected_norm(reference)
    factors = torch.linspace(-1, 2, out.numel()).view_as(out)
    (out.float() * factors).sum().backward()
    (expected * factors).sum().backward()

    assert out.dtype == dtype
    for actual, wanted in (
        (out.float(), expected),
        (x.grad.float(), reference.grad),
        (mean, expected_norm.running_mean),
        (var, expected_norm.running_var),
        (weight.grad, expected_norm.weight.grad),
        (bias.grad, expected_norm.bias.grad),
    ):
        torch.testing.assert_close(actual, wanted, rtol=tolerance, atol=tolerance)


def test_two_halves_with_shared_sums_are_one_batch():
    """What mmcv does over two processes, its all-reduce replaced by a mean."""
    torch.manual_seed(0)
    norm = batch_norm(3)
    x = torch.randn(4, 3, 10, requires_grad=True)
    grad = torch.randn(4, 3, 10)
    expected = norm(x[..., None])[..., 0]
    expected.backward(grad)

    halves, grads = x.detach().chunk(2), grad.chunk(2)
    weight, bias = norm.weight.detach(), norm.bias.detach()

    def shared(function, *inputs):
        totals = torch.zeros(2, 3)
        for rank, args in enumerate(zip(*inputs, strict=True)):
            function(*args, totals[rank])
        return totals.mean(0)

    mean = shared(_ext.sync_bn_forward_mean, halves)
    var = shared(_ext.sync_bn_forward_var, halves, (mean, mean))
    running_mean, running_var = torch.zeros(3), torch.ones(3)
    outs, norms, std = [], [], torch.zeros(3)
    for half in halves:
        outs.append(torch.zeros_like(half))
        norms.append(torch.zeros_like(half))
        running_mean.zero_()
        running_var.fill_(1)
        _ext.sync_bn_forward_output(
            half,
            mean,
            var,
            weight,
            bias,
            running_mean,
            running_var,
            norms[-1],
            std,
            outs[-1],
            eps=1e-5,
            momentum=torch.tensor([0.2]),
            group_size=2,
        )
    torch.testing.assert_close(torch.cat(outs), expected)
    torch.testing.assert_close(running_mean, norm.running_mean)
    torch.testing.assert_close(running_var, norm.running_var)

    grad_weights, grad_biases, grad_x = torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(4, 3, 10)
    for rank in range(2):
        _ext.sync_bn_backward_param(grads[rank], norms[rank], grad_weights[rank], grad_biases[rank])
    torch.testing.assert_close(grad_weights.sum(0), norm.weight.grad)
    for rank, target in enumerate(grad_x.chunk(2)):
        _ext.sync_bn_backward_data(
            grads[rank], weight, grad_weights.mean(0), grad_biases.mean(0), norms[rank], std, target
        )
    torch.testing.assert_close(grad_x, x.grad, rtol=1e-4, atol=1e-5)
