"""Where torch's operators add gradients up in an order that differs from run to run."""

import torch


def adds_in_any_order(tensor: torch.Tensor) -> bool:
    """Whether operators that add up atomically have to be replaced by slower ones that do not: on a GPU, where
    `torch.use_deterministic_algorithms` is on."""
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()
