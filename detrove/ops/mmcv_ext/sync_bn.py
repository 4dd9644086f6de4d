"""The local half of mmcv's SyncBatchNorm; mmcv itself exchanges the sums. Inputs are (N, C, pixels),
statistics fp32."""


def sync_bn_forward_mean(input, mean):
    """Fill mean (C,)."""
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input, mean, var):
    """Fill var (C,) with the mean squared distance to the given (global) mean."""
    var.copy_((input.float() - mean[:, None]).square_().mean((0, 2)))


def sync_bn_forward_output(
    input, mean, var, weight, bias, running_mean, running_var, norm, std, output, eps, momentum, group_size
):
    """Fill norm (N, C, pixels), std (C,) and output, and move the running statistics by momentum."""
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None])
    count = input.shape[0] * input.shape[2] * group_size
    unbiased = var * (count / (count - 1)) if count > 1 else var
    running_mean.mul_(1 - momentum).add_(momentum * mean)
    running_var.mul_(1 - momentum).add_(momentum * unbiased)


def sync_bn_backward_param(grad_output, norm, grad_weight, grad_bias):
    """Fill grad_weight (C,) and grad_bias (C,)."""
    grad = grad_output.float()
    grad_weight.copy_((grad * norm).sum((0, 2)))
    grad_bias.copy_(grad.sum((0, 2)))


def sync_bn_backward_data(grad_output, weight, grad_weight, grad_bias, norm, std, grad_input):
    """Fill grad_input (N, C, pixels)."""
    count = grad_output.shape[0] * grad_output.shape[2]
    through_statistics = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((weight / std)[:, None] * (grad_output.float() - through_statistics))
