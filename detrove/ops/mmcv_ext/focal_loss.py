"""Focal losses (arXiv:1708.02002) on integer targets, value and derivative written into the caller's tensors.

RetinaNet has some 30 million logits per step, so rows are worked on in slices: the temporaries stay small.
"""

import torch
import torch.nn.functional as F

SLICE_ELEMENTS = 2**22


def sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha):
    """input (N, C) logits, target (N,) with C meaning background, weight (C,) or empty -> output (N, C)."""
    for rows, logits, is_target, class_weight in _slices(input, target, weight):
        log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
        positive = alpha * log_not_p.mul(gamma).exp_().mul_(log_p)
        negative = (1 - alpha) * log_p.mul_(gamma).exp_().mul_(log_not_p)
        output[rows] = torch.where(is_target, positive, negative).mul_(-class_weight)


def sigmoid_focal_loss_backward(input, target, weight, grad_input, gamma, alpha):
    """Derivative of every loss by its logit -> grad_input (N, C)."""
    for rows, logits, is_target, class_weight in _slices(input, target, weight):
        p, log_p, log_not_p = logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits)
        positive = alpha * log_not_p.mul(gamma).exp_().mul_(1 - p - gamma * p * log_p)
        negative = (1 - alpha) * log_p.mul_(gamma).exp_().mul_(gamma * (1 - p) * log_not_p - p)
        grad_input[rows] = torch.where(is_target, positive, negative).mul_(-class_weight)


def softmax_focal_loss_forward(softmax, target, weight, output, gamma, alpha):
    """softmax (N, C) probabilities, target (N,) with negatives ignored, weight (C,) or empty -> output
    (N,)."""
    p, class_weight = _target_probability(softmax, target, weight)
    log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
    output.copy_(-alpha * (1 - p).pow(gamma) * log_p * class_weight)


def softmax_focal_loss_backward(softmax, target, weight, buff, grad_input, gamma, alpha):
    """Fill grad_input (N, C), the derivative by the logits, and buff (N,), that by log p of the target."""
    p, class_weight = _target_probability(softmax, target, weight)
    log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
    by_log_p = alpha * class_weight * (gamma * (1 - p).pow(gamma - 1) * p * log_p - (1 - p).pow(gamma))
    by_log_p = torch.where(target >= 0, by_log_p, 0)
    buff.copy_(by_log_p)
    classes = torch.arange(softmax.shape[1], device=softmax.device)
    grad_input.copy_(by_log_p[:, None] * ((target[:, None] == classes).to(p.dtype) - softmax))


def _slices(input, target, weight):
    """Rows of the logits in fp32 or fp64, where they are the target class, and the weight (n, 1) of their
    target.

    mmcv reads past the end of the class weights for background, which has none; here its weight is 1.
    """
    num_classes = input.shape[1]
    classes = torch.arange(num_classes, device=input.device)
    step = max(1, SLICE_ELEMENTS // max(1, num_classes))
    for first in range(0, input.shape[0], step):
        rows = slice(first, first + step)
        logits = input[rows] if input.dtype == torch.float64 else input[rows].float()
        labels = target[rows]
        class_weight = _class_weight(weight, labels, num_classes).to(logits.dtype)
        yield rows, logits, labels[:, None] == classes, class_weight[:, None]


def _target_probability(softmax, target, weight):
    probability = softmax if softmax.dtype == torch.float64 else softmax.float()
    num_classes = softmax.shape[1]
    p = probability.gather(1, target.clamp(min=0)[:, None])[:, 0]
    class_weight = _class_weight(weight, target, num_classes).to(p.dtype)
    return p, class_weight * (target >= 0)


def _class_weight(weight, target, num_classes):
    if weight.numel() == 0:
        return torch.ones_like(target, dtype=weight.dtype)
    has_weight = (target >= 0) & (target < num_classes)
    return torch.where(has_weight, weight[target.clamp(0, num_classes - 1)], 1)
